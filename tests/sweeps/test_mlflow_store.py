"""MLflow's store: made whole or not at all, and told of when it is away."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2vl.errors import UserError
from sweeps.mlflow_store import answering, does_not_answer, open_client, sqlite_file

OPEN = "import sys; from sweeps.mlflow_store import open_client; open_client(sys.argv[1])"


@pytest.mark.mlflow
def test_a_process_killed_while_it_makes_the_store_leaves_none(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    process = subprocess.Popen([sys.executable, "-c", OPEN, f"sqlite:///{file}"])
    partial = tmp_path / ".mlflow.db.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 100_000):
        time.sleep(0.001)
    assert process.poll() is None, "made before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.exists() and not file.exists()
    client = open_client(f"sqlite:///{file}")
    assert client.get_experiment(client.create_experiment("e")).name == "e"
    assert not partial.exists()


@pytest.mark.mlflow
def test_two_that_open_a_new_store_at_once_have_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_experiment, args=(uri, name)) for name in ("a", "b")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert {e.name for e in open_client(uri).search_experiments()} == {"Default", "a", "b"}


def _experiment(uri: str, name: str) -> None:
    open_client(uri).create_experiment(name)


def test_which_addresses_are_files(tmp_path: Path) -> None:
    assert sqlite_file(f"sqlite:///{tmp_path / 'm.db'}") == tmp_path / "m.db"
    assert sqlite_file("sqlite:///m.db") == Path("m.db").absolute()
    for uri in ("sqlite://", "sqlite:///:memory:", "postgresql://h/d", "http://h:5000", "runs"):
        assert sqlite_file(uri) is None


def test_a_password_is_not_shown() -> None:
    for uri in ("postgresql://me:secret@host/db", "https://me:secret@host:5000"):
        with pytest.raises(UserError) as raised, answering(uri, then="start it"):
            raise OSError("refused")
        said = str(raised.value)
        assert "secret" not in said and "me:***" in said and said.endswith("refused; start it")


def test_tables_that_were_cut_short_are_told_with_the_remedy() -> None:
    error = OSError("table _alembic_tmp_experiments already exists")
    assert "go back to a copy" in str(does_not_answer("sqlite:///m.db", error))
