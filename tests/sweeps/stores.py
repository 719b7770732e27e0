"""What the two stores say of a sweep, read without our own code.

They are named by the folder that holds their files, or by a database's address.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mlflow
import optuna
from mlflow.entities import Run


def trials(storage: Path | str, name: str = "small") -> list[optuna.trial.FrozenTrial]:
    """All trials of the study."""
    uri = storage
    if isinstance(storage, Path):
        uri = f"sqlite:///{storage / 'sweeps' / name / 'study.db'}"
    return optuna.load_study(study_name=name, storage=uri).get_trials()


def client(storage: Path | str) -> mlflow.MlflowClient:
    """A client of the sweep's MLflow store."""
    uri = f"sqlite:///{storage / 'mlflow.db'}" if isinstance(storage, Path) else storage
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs(storage: Path | str, kind: str) -> dict[str, Run]:
    """MLflow runs of a kind, by name; a name that stands there twice fails."""
    reader = client(storage)
    ids = [experiment.experiment_id for experiment in reader.search_experiments()]
    found = reader.search_runs(ids, f"tags.kind = '{kind}'", max_results=1000)
    by_name = {run.data.tags["run"]: run for run in found}
    assert len(by_name) == len(found)
    return by_name


def outcomes(storage: Path | str, kind: str = "trial") -> Counter[tuple[str, str]]:
    """How many runs have which status and outcome."""
    found = runs(storage, kind).values()
    return Counter((run.info.status, run.data.tags["outcome"]) for run in found)


def epochs(storage: Path | str, run: Run, metric: str = "train/loss") -> list[int]:
    """The steps at which a metric was logged, in the order of logging."""
    return [m.step for m in client(storage).get_metric_history(run.info.run_id, metric)]
