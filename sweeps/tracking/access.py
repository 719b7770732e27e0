"""Whether a sweep may write to MLflow what it will have to write, asked before its first trial.

A server with permissions answers reads long before it refuses the writes that come at the end.
"""

from __future__ import annotations

from mlflow import MlflowClient

from sweeps.spec.reading import public_dump
from sweeps.spec.sweep import SweepSettings
from sweeps.tracking.mlflow_store import answering, find_experiment, open_client
from sweeps.tracking.registry import if_there

CHECKED = "c2vl.checked"


def check_access(spec: SweepSettings, client: MlflowClient, run: str) -> None:
    """Write an artefact to a run, and what can be taken back to the registered model.

    Args:
        run: id of a run in the sweep's experiment.

    Raises:
        MlflowException: one of the writes is not ours to make, or MLflow does not answer; callers
            let :func:`.answering` tell it.
    """
    client.log_text(run, public_dump(spec), "sweep.yaml")
    if if_there(lambda: client.get_registered_model(spec.model)) is None:
        client.create_registered_model(spec.model)  # refused where another's is hidden from us
        client.delete_registered_model(spec.model)
    else:
        client.set_registered_model_tag(spec.model, CHECKED, "writable")
        client.delete_registered_model_tag(spec.model, CHECKED)


def probe(spec: SweepSettings) -> bool:
    """Make a run in the sweep's experiment, check what it takes, and delete it.

    Returns:
        False where there is no such experiment yet, so that nothing was tried.

    Raises:
        Refused: we may not write to the experiment, its artefacts or the registered model.
        UserError: MLflow does not answer.
    """
    with answering(spec.tracking_uri, then="start the server, or name another"):
        client = open_client(spec.tracking_uri)
        if (experiment := find_experiment(client, spec.tracking.experiment)) is None:
            return False
        run = client.create_run(experiment, run_name=CHECKED).info.run_id
        try:
            check_access(spec, client, run)
        finally:
            client.delete_run(run)
        return True
