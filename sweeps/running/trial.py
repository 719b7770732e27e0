"""The Tune trainable: one training in a process of Ray's. Imports no torch and no MLflow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OUTCOME, ERROR, NODE = "outcome", "error", "node"


def run(config: dict[str, Any]) -> None:
    """Train one experiment and report its epochs to Tune, then its outcome.

    Errors that a retry cannot cure are reported as an outcome. A full disk interrupts the trial,
    which resumes with the sweep. Anything else is raised, so that Tune restarts the trial and
    training resumes from its checkpoint.

    Args:
        config: ``name``, ``folder``, ``kind`` and ``experiment`` (:meth:`Experiment.model_dump`).
    """
    import ray
    from ray import tune

    from c2vl.config.reading import from_dict
    from c2vl.support.errors import StorageFull, TrainingError, UserError
    from c2vl.training.launch import fit
    from c2vl.training.system_usage import give_memory_back

    experiment = from_dict(config["experiment"])
    folder, name = Path(config["folder"]), config["name"]
    node = ray.get_runtime_context().get_node_id()
    keep = config["kind"] == "trial"  # until the driver knows whether it is one of the best

    def report(row: dict[str, Any]) -> None:
        tune.report({**row, NODE: node})

    try:
        last = fit(
            experiment, folder, name=name, on_report=report, in_process=True, keep_checkpoint=keep
        )
    except StorageFull as error:
        report({OUTCOME: "interrupted", ERROR: str(error)})
        return
    except (UserError, TrainingError) as error:
        report({OUTCOME: "failed", ERROR: str(error)})
        return
    finally:
        give_memory_back()
    report({**last, OUTCOME: "complete"})
