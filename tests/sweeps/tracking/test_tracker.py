"""What is written to MLflow: spooled first, delivered in order and once, whatever comes between."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from c2vl.config.reading import dump
from c2vl.training.run_folder import MetricsFile, RunFolder
from sweeps.spec.reading import parse_sweep
from sweeps.spec.space import experiment
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import End, Job, Outcome
from sweeps.tracking import delivery as spool
from sweeps.tracking.mlflow_store import open_client
from sweeps.tracking.run_writer import batches
from sweeps.tracking.tracker import Tracker, deliver
from tests.sweeps.stores import epochs, outcomes, runs

pytestmark = pytest.mark.mlflow


def test_a_spool_outlives_its_process_and_a_line_that_was_cut(tmp_path: Path) -> None:
    one = spool.Spool(tmp_path)
    for number in range(5):
        one.append({"op": "rows", "n": number})
    found = one.read(2)
    assert [operation["n"] for operation, _ in found] == [0, 1]
    one.advance(found[-1][1])
    with (tmp_path / spool.JOURNAL).open("ab") as file:  # killed in the middle of a line
        file.write(b'{"op": "ro')
    assert spool.waiting(tmp_path) == 3
    again = spool.Spool(tmp_path)
    again.append({"op": "rows", "n": 5})
    found = again.read()
    assert [operation["n"] for operation, _ in found] == [2, 3, 4, 5]
    again.advance(found[-1][1])
    assert again.empty() and spool.waiting(tmp_path) == 0
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_line_is_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = spool.Spool(tmp_path)
    for number in range(4):
        one.append({"op": "rows", "n": number})
    journal = tmp_path / spool.JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    bad = [b'{"op":"ro\0\xff","n":1}\n', b"1\n"]
    journal.write_bytes(b"".join([lines[0], bad[0], *lines[1:], bad[1]]))
    delivered: list[spool.Operation] = []
    two = spool.Delivery(spool.Spool(tmp_path), delivered.extend, batches)
    assert two.close(10)
    assert [operation["n"] for operation in delivered] == [0, 1, 2, 3]
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(": ")[0] for text in told] == [f"{journal}, line {n}" for n in (2, 6)]
    assert all(f"c2vl-sweep reconcile {tmp_path.name}" in text for text in told)


def test_what_finds_no_room_is_spooled_in_order_once_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, delivered = [False], list[spool.Operation]()
    append = spool.Spool.append

    def refusing(self: spool.Spool, operation: spool.Operation) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, operation)

    monkeypatch.setattr(spool.Spool, "append", refusing)
    one = spool.Delivery(spool.Spool(tmp_path), delivered.extend, batches)
    for number in range(6):
        full[0] = number in (1, 2, 3)
        one.put({"op": "rows", "n": number})
    assert one.close(10)
    assert [operation["n"] for operation in delivered] == list(range(6))


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A file that may not grow (a limit of the process) is refused as a full disk refuses it."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from sweeps.tracking.delivery import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); s = Spool(Path(sys.argv[1]))\n"
        "s.append({'n': 'x' * 50})\n"
        "try: s.append({'n': 'y' * 50})\n"
        "except OSError: print('refused')\n"
        "s.append({'n': 1})"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    kept = [operation["n"] for operation, _ in spool.Spool(tmp_path).read()]
    assert kept == ["x" * 50, 1]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with nothing in it; making one takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def spec(sweep_values: dict[str, Any], empty_store: Path, tmp_path: Path) -> SweepSettings:
    values = {**sweep_values, "storage": str(tmp_path / "runs"), "tracking": {"patience": 60}}
    found = parse_sweep(values, "small.yaml")
    found.folder.path.mkdir(parents=True)
    shutil.copy(empty_store, found.storage / "mlflow.db")
    return found


def job(spec: SweepSettings, number: int) -> Job:
    values = {"optim.lr": 0.1, "objective.temperature": 0.1}
    name = f"small-{number:04d}"
    settings = experiment(spec.base, spec.space, values).model_copy(update={"name": name})
    return Job(name, settings, spec.folder / "trials" / name, "trial", number, values)


def row(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "loss": 1 / epoch, "knn_val": 0.1 * epoch}


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lose answers of MLflow: with some chance a write is done, and fails all the same."""
    chance, draw = [0.0], random.Random(0)

    def losing(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            answer = method(*words, **named)
            if draw.random() < chance[0]:
                raise MlflowException("the answer is lost")
            return answer

        return call

    for name in ("create_run", "log_batch", "update_run", "set_terminated", "log_text"):
        monkeypatch.setattr(MlflowClient, name, losing(getattr(MlflowClient, name)))
    monkeypatch.setattr(spool, "PAUSES", (0.01, 0.02))
    return lambda wanted: chance.__setitem__(0, wanted)


def test_lost_answers_change_nothing(spec: SweepSettings, lossy: Callable[[float], None]) -> None:
    tracker = Tracker(spec, "i")
    lossy(0.25)
    tracker.begin({})
    jobs = [job(spec, number) for number in range(2)]
    for one in jobs:
        tracker.started(one, 1)
    for epoch in range(1, 5):
        for one in jobs:
            tracker.reported(one, row(epoch))
        if epoch == 2:
            assert tracker.flush()
    for one in jobs:
        tracker.ended(one, End("complete", node="n"))
    tracker.finish("complete")
    assert spool.waiting(spec.folder) == 0
    assert outcomes(spec.storage) == {("FINISHED", "complete"): 2}
    for run in runs(spec.storage, "trial").values():
        assert epochs(spec.storage, run) == [1, 2, 3, 4]
        assert run.data.tags["attempts"] == "1"
        assert run.data.tags["git_commit"] and run.data.tags["drawn.optim.lr"] == "0.1"
        assert len(epochs(spec.storage, run, "wall_seconds")) == 1
        assert run.inputs is not None
        data = [one.dataset.name for one in run.inputs.dataset_inputs]
        assert sorted(data) == ["demo (generated) xsub", "language prompts"]
        assert run.info.artifact_uri.startswith((spec.storage / "mlartifacts").as_uri())


def test_the_sweep_file_in_mlflow_has_no_password(spec: SweepSettings, tmp_path: Path) -> None:
    secret = spec.model_copy(update={"study": "postgresql+psycopg://me:secret@host/db"})
    tracker = Tracker(secret, "i")
    tracker.begin({})
    tracker.finish("complete")
    path = tracker.client.download_artifacts(tracker.parent, "sweep.yaml", str(tmp_path))
    assert "study: postgresql+psycopg://me:***@host/db" in Path(path).read_text()


def test_a_driver_without_its_server_leaves_what_the_next_one_delivers(
    spec: SweepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away for a whole life of the driver, which is killed; the next one delivers."""
    first = Tracker(spec, "i")
    first.started(job(spec, 0), 1)
    first.reported(job(spec, 0), row(1))
    first.finish("interrupted")
    store, hidden = spec.storage / "mlflow.db", spec.storage / "away.db"
    store.rename(hidden)
    store.mkdir()  # SQLite cannot open a folder: away
    child = os.fork()
    if child == 0:  # a driver that SIGKILL ends
        monkeypatch.setattr(spool, "PAUSES", (0.01, 0.02))
        second = Tracker(spec, "i", must_answer=False)
        one = job(spec, 0)
        second.started(one, 1)
        train(one, range(1, 4))
        for epoch in range(2, 4):
            second.reported(one, row(epoch))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert spool.waiting(spec.folder) >= 4
    store.rmdir()
    hidden.rename(store)
    assert deliver(spec, "i") >= 4 and spool.waiting(spec.folder) == 0
    (run,) = runs(spec.storage, "trial").values()
    assert epochs(spec.storage, run) == [1, 2, 3]
    third = Tracker(spec, "i")
    third.started(job(spec, 0), 1)
    third.reported(job(spec, 0), row(4))
    third.ended(job(spec, 0), End("complete"))
    third.finish("complete")
    assert outcomes(spec.storage) == {("FINISHED", "complete"): 1}
    (run,) = runs(spec.storage, "trial").values()
    assert epochs(spec.storage, run) == [1, 2, 3, 4]
    assert run.data.tags["attempts"] == "3"
    # What MLflow never heard of is written from the training's own folder.
    lost = replace(job(spec, 0), name="small-0001", number=1)  # its folder has three epochs
    RunFolder(lost.folder).claim(dump(lost.experiment))
    fourth = Tracker(spec, "i")
    ended: list[tuple[Job, Outcome]] = [(job(spec, 0), "complete"), (lost, "pruned")]
    fourth.reconcile(ended)
    fourth.finish("complete")
    assert outcomes(spec.storage) == {("FINISHED", "complete"): 1, ("KILLED", "pruned"): 1}
    added = runs(spec.storage, "trial")["small-0001"]
    assert epochs(spec.storage, added) == [1, 2, 3]
    assert added.data.params["optim.lr"] == "0.1"


def train(one: Job, numbers: range) -> None:
    one.folder.mkdir(parents=True, exist_ok=True)
    file = MetricsFile(RunFolder(one.folder))
    for epoch in numbers:
        file.add(row(epoch))
