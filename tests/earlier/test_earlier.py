"""What the code before the rooms wrote (see README.md here) loads, resumes and reads the same.

The archive is unpacked into a folder of the test's; MLflow's store has absolute addresses of
artefacts in it, which are moved along, as a user who moves a storage folder has to.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click import Command
from click.testing import CliRunner, Result

from c2vl.commands.main import c2vl
from sweeps.commands.main import sweep

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, unpacked."""
    root = tmp_path_factory.mktemp("earlier")
    with tarfile.open(HERE / "before_rooms.tar.xz") as archive:
        archive.extractall(root, filter="data")
    with sqlite3.connect(root / "runs" / "mlflow.db") as store:
        (artefacts,) = store.execute("SELECT min(artifact_location) FROM experiments").fetchone()
        made_in = artefacts.removeprefix("file://").removesuffix("/runs/mlartifacts")
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):
            store.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (made_in, str(root))
            )
    for path in (root / "runs").rglob("experiment.yaml"):
        path.write_text(path.read_text().replace(made_in, str(root)))
    return root


@pytest.fixture
def there(earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked archive as the working directory."""
    monkeypatch.chdir(earlier)
    return earlier


def run(*words: str, of: Command = c2vl) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(of, list(words))
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result


def test_store_table_and_encoder_load(there: Path) -> None:
    import c2vl as library
    from c2vl.prompts.table import ConceptTable
    from c2vl.skeletons.store import Store

    store = Store.open("runs/stores/demo")
    assert len(store) == 52 and len(store.class_names) == 13
    table = ConceptTable.open(there / "runs/stores/language")
    assert len(table.ids) == 52
    encoder = library.load_encoder("runs/train/done/encoder")
    features = encoder.embed([np.load("joints.npy")])
    assert features.shape == (1, 16) and np.isfinite(features).all()


def test_a_finished_run_is_finished_and_a_cut_one_goes_on(there: Path) -> None:
    before = (there / "runs/train/done/metrics.jsonl").read_bytes()
    run("train", "train.yaml", "--out", "runs/train/done")
    assert (there / "runs/train/done/metrics.jsonl").read_bytes() == before
    cut = there / "runs/train/cut/metrics.jsonl"
    old = cut.read_text().splitlines()
    run("train", "train.yaml", "train.epochs=30", "--out", "runs/train/cut")
    rows = cut.read_text().splitlines()
    assert rows[: len(old)] == old and [json.loads(row)["epoch"] for row in rows] == [*range(1, 31)]


def test_results_head_and_index_read(there: Path) -> None:
    assert "linear" in run("evaluate", "table", "runs/results").output
    run("classify", "runs/train/done/encoder", "runs/head", "joints.npy")
    run("search", "runs/train/done/encoder", "runs/index", "joints.npy")


@pytest.mark.ray
@pytest.mark.mlflow
def test_sweeps_are_read_resumed_and_extended(
    earlier: Path,
    tmp_path: Path,
    c2vl_sweep: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(earlier, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shown = run("status", "small", of=sweep).output
    assert shown.count("complete") >= 2 and "pruned" in shown
    run("report", "small", of=sweep)
    c2vl_sweep("resume", "killed", cwd=tmp_path)
    with sqlite3.connect(tmp_path / "runs/sweeps/killed/study.db") as study:
        states = study.execute("SELECT number, state FROM trials ORDER BY number").fetchall()
    assert len(states) == 3 and "RUNNING" not in {state for _, state in states}
    run("reconcile", "killed", "--check", of=sweep)
    with sqlite3.connect(tmp_path / "runs/mlflow.db") as store:
        left = store.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    assert left == (0,)


@pytest.mark.mlflow
def test_the_registered_model_loads(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    import pandas as pd

    # MLflow puts the code that travels with a model on the path, where other tests would find it.
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{there / 'runs/mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/small@best")
    features = np.asarray(model.predict(pd.DataFrame({"joints": [np.load("joints.npy")]})))
    assert features.shape == (1, 16) and np.isfinite(features).all()
