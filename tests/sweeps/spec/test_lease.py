"""Who may drive a sweep at a URL, and what a folder there is to those who only look."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from c2vl.support.errors import NotShared, StorageAway, UserError
from c2vl.support.remote import RemoteFolder, require_reachable
from sweeps.running.stopping import ask_to_stop, stopping, wait_for_end
from sweeps.spec import lease as leases
from sweeps.spec.lease import Lease, held_at
from sweeps.spec.lock import holder, is_running, locked, refresh
from sweeps.spec.reading import read_sweep
from sweeps.spec.sweep_folder import SweepFolder

DRIVER = """
import sys, time
from sweeps.spec.lock import locked
from sweeps.spec.sweep_folder import SweepFolder
folder = SweepFolder.of(sys.argv[1], "s")
with locked(folder, "s", make=True):
    folder.make_identity()
    folder.settings.write_text("name: s")
    folder.send()
    print("drives", flush=True)
    time.sleep(100)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("RENEWS", 0.3), ("EXPIRES", 2.5), ("SETTLES", 0.2), ("CLOCKS", 0.0)):
        monkeypatch.setattr(leases, name, seconds)


@contextmanager
def machine(folder: Path) -> Iterator[None]:
    """Be another machine: one with another cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("C2VL_CACHE", str(folder))
        yield


def test_one_driver_at_a_time(bucket: str, tmp_path: Path) -> None:
    here = SweepFolder.of(bucket, "s")
    with locked(here, "s", make=True) as confirm:
        confirm()
        refused = pytest.raises(UserError, match=r"is running already \(process")
        with refused, locked(here, "s", make=True):  # on this machine
            pass
        with machine(tmp_path / "other"):
            there = SweepFolder.of(bucket, "s")
            assert is_running(there) and str(holder(there)).startswith("process")
            with refused, locked(there, "s", make=True):
                pass
    assert not is_running(here) and held_at(RemoteFolder(f"{bucket}/sweeps/s")) is None


def test_a_killed_driver_is_followed_at_once_here_and_later_elsewhere(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, bucket], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "drives\n"
    process.kill()
    process.wait()
    left = RemoteFolder(f"{bucket}/sweeps/s").read("lease")
    assert not is_running(SweepFolder.of(bucket, "s"))  # the lock of this machine shows it
    for other in (False, True):
        RemoteFolder(f"{bucket}/sweeps/s").write("lease", left)
        with machine(tmp_path / ("other" if other else "cache")):
            began, folder = time.monotonic(), SweepFolder.of(bucket, "s")
            with locked(folder, "s", make=False):
                waited = time.monotonic() - began
                assert folder.begun and folder.identity()  # what the other one has sent
            assert ("waiting whether process" in caplog.text) == other
            assert not other or waited >= leases.EXPIRES


def test_a_driver_that_another_one_has_followed_ends(bucket: str, tmp_path: Path) -> None:
    remote, gone = RemoteFolder(f"{bucket}/sweeps/s"), threading.Event()
    said: list[str] = []

    def lost(why: str) -> None:
        said.append(why)
        gone.set()

    with Lease(remote, tmp_path, "s", lambda: "process 1 on a", lost) as first:
        first.confirm()
        remote.write("lease", b'{"token": "2", "host": "b", "holder": "process 2 on b"}')
        assert gone.wait(10) and said == ["s: process 2 on b has taken the sweep over"]
        with pytest.raises(StorageAway):  # what it would do now is not done
            first.confirm()
    held = held_at(remote)
    assert held is not None and held.token == "2"  # it does not delete the other one's


def test_a_request_to_stop_comes_by_the_url(bucket: str, tmp_path: Path) -> None:
    here = SweepFolder.of(bucket, "s")
    with locked(here, "s", make=True), stopping(here) as stop:
        with machine(tmp_path / "other"):
            there = SweepFolder.of(bucket, "s")
            asked = ask_to_stop(there)
        assert asked is not None and asked.endswith(f"by a file in {bucket}/sweeps/s")
        deadline = time.monotonic() + 20
        while not stop and time.monotonic() < deadline:
            time.sleep(0.05)
        assert stop.reason == "request"
    assert wait_for_end(here, 5)


def test_what_a_driver_writes_is_seen_elsewhere(bucket: str, tmp_path: Path) -> None:
    here = SweepFolder.of(bucket, "s")
    trial = here.trials / "s-0000"
    run = RemoteFolder(f"{bucket}/sweeps/s/trials/s-0000")
    with locked(here, "s", make=True):
        assert SweepFolder.names(bucket) == []
        here.make_identity()
        here.settings.write_text("name: s")
        here.send()
        here.notes.mkdir()
        (here.notes / "s.json").write_text("{}")
        for name in ("metrics.jsonl", "encoder/encoder.json", "checkpoints/step-00000001.pt"):
            run.write(name, b"{}\n")
        here.run(trial).pull()
        assert not list(here.run(trial).encoder.iterdir())  # fetched when it is used
        with here.having(here.run(trial).encoder) as encoder:
            assert (encoder / "encoder.json").exists()
        assert not list(encoder.iterdir())
        here.encoder.mkdir()
        (here.encoder / "encoder.json").write_text("{}")
        here.final.write_text('{"trial": 0}')
        here.send()
        (here.notes / "s.json").unlink()
    assert SweepFolder.names(bucket) == ["s"]
    with machine(tmp_path / "other"):
        there = SweepFolder.of(bucket, "s")
        refresh(there)
        assert there.identity() == here.identity() and there.chosen and not there.notes.exists()
        assert not there.trials.exists()
        refresh(there, runs=True)
        assert there.run(there.trials / "s-0000").metrics.exists()
        with locked(there, "s", make=False):
            there.set_aside()
            there.set_aside()  # nothing is left
        here.run(trial).drop_checkpoints()
    names = RemoteFolder(f"{bucket}/sweeps/s").files()
    assert {"final-1.json", "encoder-1/encoder.json"} <= names.keys()
    assert not [name for name in names if name.startswith(("encoder/", "final.json", "lease"))]
    assert list(run.files()) == ["encoder/encoder.json", "metrics.jsonl"]
    refresh(here)
    with pytest.raises(UserError, match=r"typo: no such sweep in s3://.*/sweeps; there: s$"):
        read_sweep(bucket, "typo")
    assert not SweepFolder.of(bucket, "typo").path.exists()
    assert not here.chosen and len(here.former_finals) == 1
    here.remove()
    assert not RemoteFolder(f"{bucket}/sweeps/s").files() and not here.path.exists()


def test_a_node_without_access_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{bucket}/sweeps/s/id?region=us-east-1"
    with pytest.raises(NotShared, match=r"node .*sweeps/s/id.*is not there"):
        require_reachable(url, "mine", 5.0)
    RemoteFolder(f"{bucket}/sweeps/s").write("id", b"mine")
    require_reachable(url, "mine", 5.0)
    with pytest.raises(NotShared, match="another one"):
        require_reachable(url, "another", 5.0)
    with pytest.raises(NotShared, match="no answer"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        require_reachable(url, "third", 0.5)
