"""MLflow brought to what the study and the run folders say, without a training."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from sweeps.commands.records import reconcile
from tests.sweeps.stores import client, epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow]


def test_every_kind_of_difference(finished_copy: Path) -> None:
    storage = finished_copy
    before = runs(storage, "trial")
    writer, found = client(storage), {name: run.info.run_id for name, run in before.items()}
    writer.update_run(found["small-0000"], status="RUNNING")  # its end was lost
    writer.delete_run(found["small-0001"])
    with sqlite3.connect(storage / "mlflow.db") as database:
        database.execute(
            "delete from metrics where run_uuid = ? and step in (2, 3)", [found["small-0002"]]
        )
    tags = before["small-0002"].data.tags
    kept = {k: tags[k] for k in ("sweep", "sweep_id", "kind", "run", "mlflow.parentRunId")}
    experiment = before["small-0002"].info.experiment_id
    writer.create_run(experiment, tags=kept)
    writer.create_run(experiment, tags={**kept, "run": "small-0099"})
    writer.update_run(tags["mlflow.parentRunId"], status="RUNNING")
    final = next(iter(runs(storage, "final").values()))
    writer.log_metric(final.info.run_id, "train/loss", 2, timestamp=1, step=2)

    shown = CliRunner().invoke(reconcile, ["small", "--check"])
    assert shown.exit_code == 1
    for line in (
        "small: is RUNNING, and nothing runs it",
        "small-0000: complete, but the run is RUNNING (complete)",
        "small-0001: pruned, and has no run",
        "small-0002: has 2 runs",
        "small-0002: epochs are missing: 2-3",
        f"{final.data.tags['run']}: epochs stand there twice: 2",
        "small-0099: a run of no trial",
    ):
        assert line in shown.output
    assert "7 differences" in shown.output
    assert client(storage).get_run(found["small-0000"]).info.status == "RUNNING"

    done = CliRunner().invoke(reconcile, ["small"])
    assert done.exit_code == 0 and "7 differences put right" in done.output, done.output
    assert "says what the study says" in CliRunner().invoke(reconcile, ["small", "--check"]).output
    stood = {("FINISHED", "complete"): 2, ("FINISHED", "pruned"): 1, ("KILLED", "orphan"): 1}
    assert outcomes(storage) == stood
    assert outcomes(storage, "sweep") == {("KILLED", "interrupted"): 1}
    after = runs(storage, "trial")
    assert after["small-0002"].info.run_id == found["small-0002"]
    assert sorted(epochs(storage, after["small-0002"])) == [1, 2, 3, 4]
    again = runs(storage, "final")[final.data.tags["run"]]
    assert again.info.run_id != final.info.run_id
    assert epochs(storage, again) == [1, 2, 3, 4]


def test_a_run_whose_opening_was_lost_gets_its_parameters(finished_copy: Path) -> None:
    """A damaged line of what waits for MLflow may be the one with the parameters."""
    storage = finished_copy
    before = runs(storage, "trial")["small-0002"]
    assert before.data.params
    with sqlite3.connect(storage / "mlflow.db") as database:
        database.execute("delete from params where run_uuid = ?", [before.info.run_id])
    shown = CliRunner().invoke(reconcile, ["small", "--check"])
    assert shown.exit_code == 1 and "small-0002: the run has no parameters" in shown.output
    assert CliRunner().invoke(reconcile, ["small"]).exit_code == 0
    after = runs(storage, "trial")["small-0002"]
    assert after.data.params == before.data.params
    assert after.info.status == before.info.status
    assert epochs(storage, after) == epochs(storage, before)
    assert "says what the study says" in CliRunner().invoke(reconcile, ["small", "--check"]).output


def test_a_sweep_that_goes_on_in_another_experiment_has_all_its_runs_there(
    finished_copy: Path,
) -> None:
    storage = finished_copy
    file = storage / "sweeps/small/sweep.yaml"
    file.write_text(file.read_text().replace("experiment: c2vl", "experiment: elsewhere"))
    assert CliRunner().invoke(reconcile, ["small"]).exit_code == 0
    assert "says what the study says" in CliRunner().invoke(reconcile, ["small", "--check"]).output
    reader = client(storage)
    there = reader.get_experiment_by_name("elsewhere")
    found = reader.search_runs([there.experiment_id])
    counted = Counter(run.data.tags["kind"] for run in found)
    assert counted == {"sweep": 1, "trial": 3, "final": 13}
    assert all(run.data.params for run in found if run.data.tags["kind"] != "sweep")
