"""The Tune trainable: one training in a process of Ray's. Imports no torch and no MLflow itself."""

from __future__ import annotations

from typing import Any

OUTCOME, ERROR, NODE, RESTART = "outcome", "error", "node", "restart"
UNFIT = "unfit"  # of an interrupted trial: its node does not share the sweep's folder
TOLD = "told"  # in the configuration: the last epoch that the driver has, where the trial restarts


def run(config: dict[str, Any]) -> None:
    """Train one experiment on Ray Train workers; report its epochs to Tune, then its outcome.

    Ray Train restarts lost workers within the trial. Errors that a retry cannot cure are reported
    as an outcome, and so are more losses than ``max_failures``. A full disk interrupts the trial,
    and so does a node that does not share the sweep's folder; it resumes with the sweep. Anything
    else is raised, and Tune restarts this process.

    Args:
        config: ``name``, ``folder``, ``kind``, ``max_failures``, ``experiment``
            (:meth:`Experiment.model_dump`) and ``shared`` (of :func:`fit`).
    """
    import ray
    from ray import tune

    from c2vl.config.reading import from_dict
    from c2vl.support.errors import NotShared, StorageFull, TrainingError, UserError
    from c2vl.support.remote import parse_location
    from c2vl.training.launch import fit
    from c2vl.training.worker_errors import WorkersFailed

    experiment = from_dict(config["experiment"])
    folder, name = parse_location(config["folder"]), config["name"]
    node = ray.get_runtime_context().get_node_id()
    keep = config["kind"] == "trial"  # until the driver knows whether it is one of the best

    def report(row: dict[str, Any]) -> None:
        tune.report({**row, NODE: node})

    try:
        last = fit(
            experiment,
            folder,
            name=name,
            on_report=report,
            told=config.get(TOLD),
            on_restart=lambda why: report({RESTART: why}),
            max_failures=config["max_failures"],
            keep_checkpoint=keep,
            shared=config["shared"],
        )
    except NotShared as error:
        report({OUTCOME: "interrupted", ERROR: str(error), UNFIT: True})
        return
    except StorageFull as error:
        report({OUTCOME: "interrupted", ERROR: str(error)})
        return
    except (UserError, TrainingError, WorkersFailed) as error:
        report({OUTCOME: "failed", ERROR: str(error)})
        return
    report({**last, OUTCOME: "complete"})
