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
from sqlalchemy import create_engine

from c2vl.config.reading import flatten
from c2vl.support.errors import UserError
from sweeps.report.comparison import Side, rows
from sweeps.report.write import write_report
from sweeps.search.storage import open_storage
from sweeps.search.study import reader
from sweeps.search.trial_source import TrialSource
from sweeps.spec.reading import dump_sweep
from sweeps.spec.store_addresses import shown, sqlite_file
from sweeps.spec.sweep import TrackingSettings
from sweeps.tracking.mlflow_store import answering, does_not_answer, open_client
from tests.sweeps import synthetic

OPEN = "import sys; from sweeps.tracking.mlflow_store import open_client; open_client(sys.argv[1])"


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
    for uri in (
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://h/d",
        "http://h:5000",
        "runs",
        "sqlite:m.db",
    ):
        assert sqlite_file(uri) is None


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:secret/@secret@host/db", "postgresql://me:***@host/db"),
        ("https://me:secret@host:5000", "https://me:***@host:5000"),
        ("https://secret@host:5000", "https://***@host:5000"),
        (
            "postgresql://host/db?user=me&password=secret",
            "postgresql://host/db?user=me&password=***",
        ),
        ("sqlite:////a@b:c@d.db", "sqlite:////a@b:c@d.db"),
    ],
)
def test_a_password_is_not_shown(uri: str, says: str) -> None:
    assert shown(uri) == says
    with pytest.raises(UserError) as raised, answering(uri, then="start it"):
        raise OSError(f"request to {uri} refused")
    said = str(raised.value)
    assert "secret" not in said and f"at {says} does not answer: request to {says} refused" in said
    assert said.endswith("; start it")


def test_what_others_read_of_a_sweep_has_no_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {
        "study": "postgresql+psycopg://me:secret@host/db",
        "tracking": {"uri": "http://me:secret@127.0.0.1:9"},
    }
    spec = synthetic.sweep(tmp_path, synthetic.NUMERIC, 2, **addresses)
    assert dump_sweep(spec).count("secret") == 2  # a resume needs them
    folder = write_report(synthetic.reader(spec, synthetic.fill(spec, 2)), None)
    for name in ("index.html", "sweep.yaml"):
        text = (folder / name).read_text()
        assert "secret" not in text and "http://me:***@127.0.0.1:9" in text
    plain = spec.model_copy(update={"study": None, "tracking": TrackingSettings(), "trials": 3})
    sides = [Side(str(i), flatten(s.model_dump(mode="json"))) for i, s in enumerate((spec, plain))]
    assert [row[""] for row in rows(sides)] == ["trials"]
    stand_in = open_storage(f"sqlite:///{tmp_path / 'study.db'}", 0.0)
    monkeypatch.setattr("sweeps.search.trial_source.open_storage", lambda *_: stand_in)
    engine = create_engine(f"sqlite:///{tmp_path / 'study.db'}")
    monkeypatch.setattr("sweeps.search.study.create_engine", lambda *_, **__: engine)
    TrialSource(spec, "somebody")
    for ask in (
        lambda: reader(spec.model_copy(update={"name": "other"})),
        lambda: TrialSource(spec, "somebody else"),
    ):
        with pytest.raises(UserError, match=r"//me:\*\*\*@host/db"):
            ask()


def test_tables_that_were_cut_short_are_told_with_the_remedy() -> None:
    error = OSError("table _alembic_tmp_experiments already exists")
    assert "go back to a copy" in str(does_not_answer("sqlite:///m.db", error))
