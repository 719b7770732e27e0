"""A sweep from its file to the registered encoder, through the command line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

from c2vl.encoder import load_encoder
from c2vl.protocols.results import read_folder
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from sweeps import driver
from sweeps.choosing.final_choice import read_choice, row_title
from sweeps.commands.main import sweep
from sweeps.commands.outputs import export
from sweeps.running.stopping import Stop
from sweeps.search.trial_source import TrialSource
from sweeps.spec.reading import load_sweep, read_sweep
from sweeps.tracking.tracker import Tracker
from tests.sweeps.stores import client, epochs, outcomes, runs, trials

pytestmark = [pytest.mark.ray, pytest.mark.mlflow]

TRAINED = {"winner", "random", "base", "hard", "supervised", "masked_motion", "aimclr", "colder"}


def test_both_stores_agree(finished: tuple[Path, str]) -> None:
    storage, _ = finished
    states = [trial.state for trial in trials(storage)]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert outcomes(storage) == {("FINISHED", "complete"): 2, ("FINISHED", "pruned"): 1}
    # Of the winner's two seeds one is the trial's own; six references train both.
    assert outcomes(storage, "final") == {("FINISHED", "complete"): 13}
    (parent,) = runs(storage, "sweep").values()
    assert parent.info.status == "FINISHED"
    for name, run in runs(storage, "trial").items():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["attempts"] == "1"
        logged = epochs(storage, run)
        assert logged == list(range(1, len(logged) + 1)), name
        assert len(logged) == (1 if run.data.tags["outcome"] == "pruned" else 4)
        assert float(run.data.params["train.epochs"]) == 4
        assert run.data.metrics["system/cpu_cores"] > 0.01  # asked for; a tab of MLflow's pages
        assert run.data.metrics["system/memory_mib"] > 100


def test_the_parent_has_what_the_sweep_was(finished: tuple[Path, str]) -> None:
    storage, _ = finished
    (parent,) = runs(storage, "sweep").values()
    files = {item.path for item in client(storage).list_artifacts(parent.info.run_id)}
    assert {"sweep.yaml", "data.json", "environment.json", "report", "encoder"} <= files
    assert parent.data.metrics["trials/complete"] == 2
    assert parent.data.metrics["trials/pruned"] == 1
    beside = ("", "base/", "hard/", "supervised/", "random/", "captions/")
    for key in (*(f"test/{who}linear" for who in beside), "test/joints/knn1"):
        assert 0 < parent.data.metrics[key] <= 1


def test_what_is_kept(finished: tuple[Path, str]) -> None:
    """Every finished trial's encoder, in its run too; one full checkpoint, of the best trial."""
    storage, _ = finished
    folder = storage / "sweeps" / "small"
    best = min((t for t in trials(storage) if t.value is not None), key=lambda t: t.value or 0)
    kept = list(folder.glob("*/*/checkpoints/step-*.pt"))
    assert [path.parents[1].name for path in kept] == [f"small-{best.number:04d}"]
    assert not (folder / "tracking").exists()  # nothing waits
    for name, run in runs(storage, "trial").items():
        files = {item.path for item in client(storage).list_artifacts(run.info.run_id)}
        complete = run.data.tags["outcome"] == "complete"
        assert ("encoder" in files) == complete == (folder / "trials" / name / "encoder").exists()
        assert "config.json" in files and len(run.data.tags["git_commit"]) >= 40


def test_the_choice_is_on_validation(finished: tuple[Path, str]) -> None:
    storage, out = finished
    final = json.loads((storage / "sweeps/small/final.json").read_text())
    complete = [t for t in trials(storage) if t.state == TrialState.COMPLETE]
    assert final["trial"] == min(complete, key=lambda t: t.value or 0).number
    assert final["metric"] == "loss"
    assert len(final["validation"]) == 2
    assert final["run"] == min(final["validation"], key=final["validation"].get)
    assert set(final["test"]) == TRAINED | {"captions", "joints"}
    assert all(set(final["test"][who]) == {"0", "1"} for who in TRAINED)
    assert "demo (generated) xsub, test part" in out  # a figure names its data


def test_the_report_is_files(finished: tuple[Path, str]) -> None:
    folder = finished[0] / "sweeps/small/report"
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "index.html").read_text()
    assert "3 of 3 trials have ended" in page and "Candidates over their seeds" in page
    assert all(row_title(who) in page for who in TRAINED | {"captions", "joints"})
    assert load_sweep(folder / "sweep.yaml").trials == 3
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows] == ["complete", "pruned", "complete"]
    assert [float(row["optim.lr"]) for row in rows] == [0.001, 1e-6, 0.01]
    summary = (folder / "summary.md").read_text()
    assert "| winner |" in summary and "| colder | 2 |" in summary.partition("paired by seed")[2]


def test_the_registered_model_embeds_like_the_encoder(
    finished: tuple[Path, str], demo_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    storage, _ = finished
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    # By the environment: what `set_tracking_uri` sets would outlive this test
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    model = mlflow.pyfunc.load_model("models:/small@best")
    joints = [np.array(demo_store.joints(i)) for i in (0, 1, 2)]
    features = model.predict(pd.DataFrame({"joints": joints}))
    wanted = load_encoder(storage / "sweeps/small/encoder").embed(joints)
    np.testing.assert_allclose(features.to_numpy(), wanted, atol=1e-5)
    nested = model.predict(pd.DataFrame({"joints": [item.tolist() for item in joints]}))
    np.testing.assert_allclose(nested.to_numpy(), wanted, atol=1e-5)
    for source in ("models:/small@best", "models:/small@candidate"):
        assert np.array_equal(load_encoder(source).embed(joints), wanted)


def test_the_rows_of_the_protocols_are_kept(finished: tuple[Path, str]) -> None:
    """What the last stage scored: files, the count of readings, and both in the parent run."""
    storage, _ = finished
    rows = read_folder([storage / "sweeps/small/results"])
    scored = {row.who for row in rows}
    assert scored == {row_title(who) for who in TRAINED}
    assert {row.key for row in rows} >= {"linear", "linear_sgd_best", "knn20", "map", "nmi"}
    assert {row.part for row in rows} == {"test"}
    (parent,) = runs(storage, "sweep").values()
    assert parent.data.metrics["test/scorings"] == len(
        {(r.who, r.encoder, r.protocol) for r in rows}
    )
    files = {item.path for item in client(storage).list_artifacts(parent.info.run_id, "results")}
    assert "results/test_scorings.jsonl" in files


def test_a_second_resume_adds_nothing(
    finished: tuple[Path, str], c2vl_sweep: Callable[..., Any]
) -> None:
    storage, _ = finished
    before = (storage / "sweeps/small/final.json").read_bytes()
    c2vl_sweep("resume", "small", cwd=storage.parent)
    assert (storage / "sweeps/small/final.json").read_bytes() == before
    assert len(trials(storage)) == 3
    assert len(client(storage).search_model_versions("name = 'small'")) == 1
    assert sum(outcomes(storage).values()) == 3


def test_an_encoder_that_mlflow_refused_is_kept_and_registered_later(
    finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_sweep(finished_copy, "small")
    final, folder = read_choice(spec.folder), spec.folder
    assert final is not None

    def refuse(*_: Any) -> str:
        raise UserError("tracking.uri: MLflow has a registered model of this name")

    for name, stand_in in (("publish", refuse), ("write_report", lambda *_: folder.report)):
        monkeypatch.setattr(driver, name, stand_in)
    monkeypatch.setattr(driver, "keep_encoder", lambda *_: folder.encoder)
    tracker = Tracker(spec, folder.identity(), must_answer=False)
    source = TrialSource(spec, folder.identity())
    start = driver._Driver(spec, source, tracker, Stop(), cast(Any, None), lambda: None)
    start._publish(final)
    source.close()
    assert re.search(r"not registered.* stays in .*resume small \(tracking\.model=", start.untold)
    assert outcomes(finished_copy, "sweep") == {("FINISHED", "complete"): 1}
    done = CliRunner().invoke(export, ["small", "--register", "--model", "later"])
    assert done.output == "models:/later@best (version 1)\n", done.exception
    (version,) = client(finished_copy).search_model_versions("name = 'later'")
    assert version.tags["trial"] == str(final.trial)


WIDE = {"COLUMNS": "200"}


def said(*words: object) -> str:
    """What ``c2vl-sweep`` prints in this process."""
    done = CliRunner(env=WIDE).invoke(sweep, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*words: object) -> str:
    """The message of the mistake that ``c2vl-sweep`` finds, in this process."""
    done = CliRunner(env=WIDE).invoke(sweep, [str(word) for word in words])
    assert isinstance(done.exception, UserError), (done.output, done.exception)
    return str(done.exception)


def test_looking_at_it(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    cwd = finished[0].parent
    monkeypatch.chdir(cwd)
    state = json.loads(said("status", "small", "--json"))
    assert [state[key] for key in ("asked", "complete", "pruned", "running")] == [3, 2, 1, 0]
    assert "pruned" in said("status", "small")
    assert "small" in said("list")
    assert "optim.lr=" in said("best", "small")
    said("export", "small", "out/small")
    assert load_encoder(cwd / "out/small").card["provenance"]["sweep"] == "small"
    assert "--overwrite" in refused("export", "small", "out/small")
    said("export", "small", "out/small", "--overwrite")
    assert "holds something else" in refused("export", "small", "runs", "--overwrite")
    assert (cwd / "runs/mlflow.db").exists()


# What only Ray and MLflow can refuse: tests/faults/test_nodes.py
def test_mistakes_end_in_one_message(
    finished: tuple[Path, str],
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = ("run", sweep_file, "base.prompts.language=nowhere")
    assert "prompts.language" in c2vl_sweep(*wrong, cwd=tmp_path, code=2).stdout
    assert not (tmp_path / "runs/sweeps/small").exists()  # nothing half-started is left
    monkeypatch.chdir(finished[0].parent)
    assert "resume small" in refused("run", sweep_file)
    assert "there: small" in refused("status", "smal")
    assert "a sweep that has begun keeps it" in refused("resume", "small", "trials=9")
