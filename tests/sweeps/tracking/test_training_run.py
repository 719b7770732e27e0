"""A training of ``c2vl train`` in MLflow: one run, whatever interrupts it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from c2vl.config.reading import from_dict
from c2vl.encoder import load_encoder
from c2vl.support.errors import UserError
from c2vl.training.launch import fit
from sweeps.tracking import training_run
from sweeps.tracking.training_run import EXPERIMENT, log_training
from tests.shell import free_port
from tests.sweeps.command import empty_store


def found(uri: str) -> list[tuple[Run, list[int]]]:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    histories = [client.get_metric_history(run.info.run_id, "train/loss") for run in runs]
    return [(run, [m.step for m in history]) for run, history in zip(runs, histories, strict=True)]


@pytest.mark.mlflow
def test_one_run_however_often_it_starts(
    sweep_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = from_dict({"name": "mine", **sweep_values["base"]})
    folder, uri = tmp_path / "run", f"sqlite:///{tmp_path / 'mlflow.db'}"
    shutil.copy(empty_store(), tmp_path / "mlflow.db")

    def train(stop_after: int = 99) -> None:
        def report(row: dict[str, Any]) -> None:
            log(row)
            if row["epoch"] >= stop_after:
                raise KeyboardInterrupt

        with log_training(uri, experiment, folder) as log:
            fit(experiment, folder, name="mine", on_report=report)

    with pytest.raises(KeyboardInterrupt):
        train(stop_after=2)
    [(run, epochs)] = found(uri)
    assert (run.info.status, run.data.tags["outcome"], epochs) == ("KILLED", "interrupted", [1, 2])

    train()
    train()  # it is done: nothing is logged twice
    [(run, epochs)] = found(uri)
    assert (run.info.status, run.data.tags["attempts"]) == ("FINISHED", "2")
    assert epochs == [1, 2, 3, 4] and {"val/linear", "train/loss"} <= run.data.metrics.keys()
    assert run.data.params["train.epochs"] == "4" and run.inputs.dataset_inputs
    assert run.data.tags["mlflow.source.name"] == "c2vl train"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert load_encoder(run.info.run_id).digest == load_encoder(folder).digest

    shutil.rmtree(folder)  # another training in a folder of this name
    with pytest.raises(KeyboardInterrupt):
        train(stop_after=1)
    assert [epochs for _, epochs in found(uri)] == [[1, 2, 3, 4], [1]]


@pytest.mark.mlflow
def test_a_start_that_is_refused_leaves_no_run_and_an_absent_server_starts_nothing(
    sweep_values: dict[str, Any], tmp_path: Path
) -> None:
    experiment = from_dict({"name": "mine", **sweep_values["base"]})
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    shutil.copy(empty_store(), tmp_path / "mlflow.db")
    with pytest.raises(UserError, match="no room"), log_training(uri, experiment, tmp_path / "run"):
        raise UserError("no room")
    assert found(uri) == []
    absent = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(UserError, match=r"--tracking-uri: MLflow at http.* does not answer"),
        log_training(absent, experiment, tmp_path / "run"),
    ):
        pytest.fail("training began")
    assert not (tmp_path / "run").exists()


@pytest.mark.mlflow
def test_a_store_that_goes_away_is_told_once_training_is_done(
    sweep_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = from_dict({"name": "mine", **sweep_values["base"]})
    folder, store = tmp_path / "run", tmp_path / "mlflow.db"
    shutil.copy(empty_store(), store)
    monkeypatch.setattr(training_run, "PATIENCE", 0.0)
    uri = f"sqlite:///{store}"
    with (
        pytest.raises(UserError, match="training is done, and the same command logs it"),
        log_training(uri, experiment, folder) as log,
    ):
        store.rename(tmp_path / "away.db")
        store.mkdir()  # no database is made in its place
        fit(experiment, folder, name="mine", on_report=log)
    store.rmdir()
    (tmp_path / "away.db").rename(store)
    with log_training(uri, experiment, folder) as log:
        fit(experiment, folder, name="mine", on_report=log)
    [(run, epochs)] = found(uri)
    assert run.info.status == "FINISHED" and epochs == [1, 2, 3, 4]
