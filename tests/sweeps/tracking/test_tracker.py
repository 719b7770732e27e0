"""What MLflow is told: noted on disk first, then told in order and once, whatever intervenes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from c2vl.config.reading import dump
from c2vl.support.errors import StorageFull
from c2vl.training.metrics_file import MetricsFile
from c2vl.training.run_folder import RunFolder
from sweeps.spec.reading import parse_sweep, read_sweep
from sweeps.spec.space import experiment
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.spec.training import End, Outcome, Training
from sweeps.tracking import backlog, delivery
from sweeps.tracking.backlog import RUNNING, Backlog, waiting
from sweeps.tracking.delivery import Delivery
from sweeps.tracking.mlflow_store import Refused, open_client
from sweeps.tracking.tracker import Tracker, deliver
from tests.sweeps.command import empty_store
from tests.sweeps.stores import client, epochs, outcomes, runs

pytestmark = pytest.mark.mlflow

NOWHERE = "http://127.0.0.1:9"
EARLIER = Path(__file__).parents[2] / "earlier/before_rooms.tar.xz"


def test_a_note_outlives_its_process_until_mlflow_knows_it(tmp_path: Path) -> None:
    one = Backlog(SweepFolder(tmp_path))
    one.add("a", status=RUNNING, attempts=["1"], tags={"x": "1"})
    one.add("b", status="KILLED", metrics={"m": (1.0, 2)})
    (a, _, new), (b, epoch, _) = one.untold()
    assert new and waiting(SweepFolder(tmp_path)) == 2
    one.done(b, epoch)
    one.add("a", attempts=["2"], tags={"y": "2"})  # while MLflow is told of the first
    one.done(a, 0)
    again = Backlog(SweepFolder(tmp_path))  # after a kill
    ((a, _, new),) = again.untold()
    assert new and (a.attempts, a.tags, a.status) == (["1", "2"], {"x": "1", "y": "2"}, RUNNING)
    again.done(a, 0)
    again.add_epoch("a", 3)
    ((a, epoch, new),) = again.untold()
    assert (epoch, new) == (3, False)
    again.add_epoch("a", 4)  # while MLflow is told of 3
    again.done(a, epoch)
    assert not again.close() and waiting(SweepFolder(tmp_path)) == 1
    again.done(a, 4)
    assert again.close() and list(tmp_path.iterdir()) == []


def test_a_damaged_note_is_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Backlog(SweepFolder(tmp_path))
    for name in "abc":
        one.add(name, status="KILLED")
    path = tmp_path / "tracking/b.json"
    path.write_bytes(path.read_bytes()[:-3])
    told: list[str] = []
    two = Delivery(Backlog(SweepFolder(tmp_path)), lambda note, new: told.append(note.run), NOWHERE)
    assert two.close(10) and told == ["a", "c"]
    (record,) = caplog.records
    text = record.getMessage()
    assert str(path) in text and f"c2vl-sweep reconcile {tmp_path.name}" in text
    assert not path.exists()


def test_what_finds_no_room_is_kept_in_memory_and_saved_once_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = [False]
    write = backlog.write_text

    def refusing(path: Path, text: str) -> None:
        if full[0]:
            raise StorageFull(f"{path}: cannot be written (No space left on device)")
        write(path, text)

    monkeypatch.setattr(backlog, "write_text", refusing)
    one = Backlog(SweepFolder(tmp_path))
    for number in range(6):
        full[0] = number in (1, 2, 3)
        one.add(f"{number}", status="KILLED")
        assert waiting(SweepFolder(tmp_path)) == (1 if full[0] else number + 1)
    assert len(caplog.records) == 1  # said once
    full[0] = True
    one.add("last", status="KILLED")
    told: list[str] = []
    assert Delivery(one, lambda note, new: told.append(note.run), NOWHERE).close(0)
    assert told == [*map(str, range(6)), "last"]


def test_a_slow_server_is_waited_for_as_long_as_it_takes_writes(tmp_path: Path) -> None:
    one = Backlog(SweepFolder(tmp_path))
    for number in range(10):
        one.add(f"{number}", status="KILLED")
    slow = Delivery(one, lambda note, new: time.sleep(0.1), NOWHERE)
    assert slow.flush(0.5) and slow.close(0.5)


def test_a_full_disk_leaves_whole_notes(tmp_path: Path) -> None:
    """A file that may not grow (a limit of the process) is refused as a full disk refuses it."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from c2vl.support import files\nfrom sweeps.spec.sweep_folder import SweepFolder\n"
        "from sweeps.tracking.backlog import Backlog\n"
        "files.is_disk_full = lambda error: True\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "one = Backlog(SweepFolder(Path(sys.argv[1])))\n"
        "one.add('a', tags={'x': 'x' * 50})\n"
        "one.add('a', tags={'x': 'y' * 300})\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "kept in memory" in done.stderr
    ((note, _, _),) = Backlog(SweepFolder(tmp_path)).untold()
    assert note.tags == {"x": "x" * 50}


@pytest.fixture
def spec(sweep_values: dict[str, Any], tmp_path: Path) -> SweepSettings:
    values = {**sweep_values, "storage": str(tmp_path / "runs"), "tracking": {"patience": 60}}
    found = parse_sweep(values, "small.yaml")
    found.folder.path.mkdir(parents=True)
    shutil.copy(empty_store(), found.storage / "mlflow.db")
    return found


def training(spec: SweepSettings, number: int) -> Training:
    values = {"optim.lr": 0.1, "objective.temperature": 0.1}
    name = f"small-{number:04d}"
    settings = experiment(spec.base, spec.space, values).model_copy(update={"name": name})
    return Training(name, settings, spec.folder / "trials" / name, "trial", number, values)


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
    monkeypatch.setattr(delivery, "PAUSES", (0.01, 0.02))
    return lambda wanted: chance.__setitem__(0, wanted)


def test_an_experiment_that_was_deleted_is_told(spec: SweepSettings) -> None:
    store = open_client(spec.tracking_uri)
    store.delete_experiment(store.create_experiment(spec.tracking.experiment))
    for new in (True, False):
        with pytest.raises(Refused, match=r"was deleted in MLflow; restore it .*--experiment-id"):
            Tracker(spec, "i", must_answer=new)


def test_lost_answers_change_nothing(spec: SweepSettings, lossy: Callable[[float], None]) -> None:
    tracker = Tracker(spec, "i")
    lossy(0.25)
    tracker.begin({})
    trainings = [training(spec, number) for number in range(2)]
    for one in trainings:
        tracker.started(one, 1)
    for epoch in range(1, 5):
        for one in trainings:
            train(one, range(epoch, epoch + 1))
            tracker.reported(one, row(epoch))
        if epoch == 2:
            tracker.flush()
    for one in trainings:
        tracker.ended(one, End("complete", node="n"))
    for name, lr in (("small-0000", 0.1), ("small-0001", 0.2)):  # after an extension another
        settings = {"winner": name, **spec.base.model_dump(mode="json")}
        drawn = {"optim.lr": lr}
        tracker.chosen(f"Winner: {name}", {}, settings | {"optim": {"lr": lr}}, drawn)
        tracker.flush()
    tracker.finish("complete")
    assert waiting(spec.folder) == 0
    (parent,) = runs(spec.storage, "sweep").values()
    said, kept = parent.data.tags["mlflow.note.content"], parent.data.params
    assert "Winner: small-0001" in said and "those of the run that `winner` names" in said
    assert (kept["winner"], kept["optim.lr"]) == ("small-0000", "0.1")  # MLflow changes none
    now = parent.data.tags
    assert (now["winner"], now["drawn.optim.lr"]) == ("small-0001", "0.2")
    assert outcomes(spec.storage) == {("FINISHED", "complete"): 2}
    for run in runs(spec.storage, "trial").values():
        assert epochs(spec.storage, run) == [1, 2, 3, 4]
        assert run.data.tags["attempts"] == "1"
        assert run.data.tags["git_commit"] and run.data.tags["drawn.optim.lr"] == "0.1"
        assert len(epochs(spec.storage, run, "train/wall_seconds")) == 1
        assert run.inputs is not None
        data = [one.dataset.name for one in run.inputs.dataset_inputs]
        assert sorted(data) == ["demo (generated) xsub", "language prompts"]
        assert run.info.artifact_uri.startswith((spec.storage / "mlartifacts").as_uri())


def test_the_sweep_file_in_mlflow_has_no_password(spec: SweepSettings, tmp_path: Path) -> None:
    secret = spec.model_copy(update={"study": "postgresql+psycopg://me:secret@host/db"})
    tracker = Tracker(secret, "i")
    tracker.begin({})
    tracker.finish("complete")
    path = tracker.runs.client.download_artifacts(tracker.runs.parent, "sweep.yaml", str(tmp_path))
    assert "study: postgresql+psycopg://me:***@host/db" in Path(path).read_text()


def test_a_driver_without_its_server_leaves_what_the_next_one_delivers(
    spec: SweepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away for a whole life of the driver, which is killed; the next one delivers."""
    first = Tracker(spec, "i")
    first.started(training(spec, 0), 1)
    train(training(spec, 0), range(1, 2))
    first.reported(training(spec, 0), row(1))
    first.finish("interrupted")
    store, hidden = spec.storage / "mlflow.db", spec.storage / "away.db"
    store.rename(hidden)
    store.mkdir()  # SQLite cannot open a folder: away
    child = os.fork()
    if child == 0:  # a driver that SIGKILL ends
        monkeypatch.setattr(delivery, "PAUSES", (0.01, 0.02))
        second = Tracker(spec, "i", must_answer=False)
        one = training(spec, 0)
        second.started(one, 1)
        train(one, range(1, 4))
        for epoch in range(2, 4):
            second.reported(one, row(epoch))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert waiting(spec.folder) == 2  # the sweep and the trial
    store.rmdir()
    hidden.rename(store)
    assert deliver(spec, "i") == 2 and waiting(spec.folder) == 0
    (run,) = runs(spec.storage, "trial").values()
    assert epochs(spec.storage, run) == [1, 2, 3]
    third = Tracker(spec, "i")
    third.started(training(spec, 0), 1)
    train(training(spec, 0), range(4, 5))
    third.reported(training(spec, 0), row(4))
    third.ended(training(spec, 0), End("complete"))
    third.finish("complete")
    assert outcomes(spec.storage) == {("FINISHED", "complete"): 1}
    (run,) = runs(spec.storage, "trial").values()
    assert epochs(spec.storage, run) == [1, 2, 3, 4]
    assert run.data.tags["attempts"] == "3"
    # What MLflow never heard of is written from the training's own folder.
    lost = replace(training(spec, 0), name="small-0001", number=1)  # its folder has four epochs
    RunFolder(lost.folder).claim(dump(lost.experiment))
    fourth = Tracker(spec, "i")
    ended: list[tuple[Training, Outcome]] = [(training(spec, 0), "complete"), (lost, "pruned")]
    fourth.reconcile(ended)
    fourth.finish("complete")
    assert outcomes(spec.storage) == {("FINISHED", "complete"): 1, ("FINISHED", "pruned"): 1}
    added = runs(spec.storage, "trial")["small-0001"]
    assert epochs(spec.storage, added) == [1, 2, 3, 4]
    assert added.data.params["optim.lr"] == "0.1"


def test_what_an_earlier_version_left_in_its_journal_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sweep of a driver that SIGKILL ended, with a journal of operations; one is damaged."""
    with tarfile.open(EARLIER) as archive:
        wanted = [m for m in archive.getmembers() if m.name.startswith("./runs/sweeps/killed")]
        archive.extractall(tmp_path, wanted or archive.getmembers(), filter="data")
    storage = tmp_path / "runs"
    shutil.copy(empty_store(), storage / "mlflow.db")
    spec = read_sweep(storage, "killed")
    journal, mark = spec.folder.journal, spec.folder.journal_position
    mark.write_text("0\n")  # MLflow was away all the time
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = b'{"op":"ro\0\xff"}\n'  # an epoch
    journal.write_bytes(b"".join(lines) + b'{"op": "ro')  # killed in the middle of a line
    assert waiting(spec.folder) == 4 and journal.exists()
    assert f"{journal}, line 4: is damaged" in caplog.text
    assert deliver(spec, spec.folder.identity()) == 4 and waiting(spec.folder) == 0
    assert not journal.exists() and not mark.exists()
    found = runs(storage, "trial")
    says = [(run.info.status, run.data.tags["outcome"]) for _, run in sorted(found.items())]
    assert says == [("FINISHED", "complete"), ("KILLED", "pruned"), ("RUNNING", "running")]
    for name, run in found.items():
        rows = RunFolder(spec.folder.trials / name).rows()
        assert epochs(storage, run) == [row["epoch"] for row in rows] != []
        times = [
            m.timestamp for m in client(storage).get_metric_history(run.info.run_id, "train/loss")
        ]
        assert times == sorted(times)
        assert run.data.params["optim.lr"] and run.data.tags["attempts"] == "1"
    assert found["killed-0000"].data.metrics["train/wall_seconds"] == pytest.approx(5.06, abs=0.01)


def train(one: Training, numbers: range) -> None:
    one.folder.mkdir(parents=True, exist_ok=True)
    file = MetricsFile(RunFolder(one.folder).metrics)
    for epoch in numbers:
        file.add(row(epoch))
