from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from c2vl.skeletons.datasets import Options, get_reader
from c2vl.skeletons.demo.ntu_files import TrackedBody, skeleton_text
from c2vl.skeletons.describe import missing_later
from c2vl.skeletons.preparing.prepare import prepare
from c2vl.skeletons.store import Store
from c2vl.support.errors import StorageFull, UserError
from tests.skeletons.datasets.writers import write_folder

BAD = "S001C001P004R001A001.skeleton"


def write(folder: Path, number: int, frames: int = 10) -> Path:
    """Write one small file, always the same for a number."""
    rng = np.random.default_rng(number)
    joints = rng.uniform(-1, 1, (frames + number % 7, 25, 3)) + np.array([0, 0, 3])
    path = folder / f"S{1 + number // 990:03}C001P{1 + number % 990:03}R001A001.skeleton"
    path.write_text(skeleton_text([TrackedBody(1, np.arange(len(joints)), joints)]))
    return path


def content(store: Path) -> dict[str, bytes]:
    """Every file of a store, by name."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six small files, one of which is damaged."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(6):
        write(folder, number)
    (folder / BAD).write_text("3\n1\n")
    return folder


def test_rejected_files(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with pytest.raises(UserError, match=r"1 cannot be used, more than --max-rejected 0.*kept in"):
        prepare("ntu60", raw, out)
    assert not out.exists()
    listed = pd.read_csv(tmp_path / "store.rejected.csv")
    assert list(listed["file"]) == [BAD] and list(listed["line"]) == [3]
    prepared = prepare("ntu60", raw, out, max_rejected=1)
    assert [one.file for one in prepared.unusable] == [BAD]
    assert prepared.store.manifest["counts"]["rejected"] == 1 and len(prepared.store) == 5
    assert (prepared.store.data / "rejected.csv").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]
    again = prepare("ntu60", raw, out)
    assert again.already and again.rejected == prepared.rejected


def test_nothing_usable(raw: Path, tmp_path: Path) -> None:
    for path in raw.iterdir():
        path.write_text("")
    with pytest.raises(
        UserError,
        match=r"the first of 6 reasons: .*ends before the number of frames",
    ):
        prepare("ntu60", raw, tmp_path / "store", max_rejected=99)
    assert not (tmp_path / "store").exists()


def test_only_what_is_new_is_read(raw: Path, tmp_path: Path) -> None:
    """And the store is byte for byte the one that would have been made at once."""
    (raw / BAD).unlink()
    out = tmp_path / "store"
    first = prepare("ntu60", raw, out)
    assert (first.read, first.taken) == (5, 0)
    (out / "language").mkdir()  # a table of the user's, which may lie in the store's folder
    (out / "language" / "kept").touch()
    write(raw, 3)
    write(raw, 700)
    changed = write(raw, 1, frames=30)
    second = prepare("ntu60", raw, out)
    assert (second.read, second.taken) == (3, 4)
    assert (out / "language" / "kept").exists()
    (out / "language" / "kept").unlink()
    (out / "language").rmdir()
    prepare("ntu60", raw, tmp_path / "at_once")
    assert content(out) == content(tmp_path / "at_once")
    assert Store.open(out).joints(1).shape[1] == 31
    changed.unlink()
    with pytest.raises(UserError, match="1 of its files are not in the source any more"):
        prepare("ntu60", raw, out)
    assert len(prepare("ntu60", raw, out, overwrite=True).store) == 6


@pytest.mark.parametrize("change", ["joint", "class", "split", "default split"])
def test_what_the_source_says_of_all_sequences_is_looked_at(change: str, tmp_path: Path) -> None:
    """Every file of joints is as it was; layout, class names and splits are content too."""
    write_folder(raw := tmp_path / "raw", "\n")
    out = tmp_path / "store"
    first = prepare("folder", raw, out).store
    assert prepare("folder", raw, out).already
    name, old, new = {
        "joint": ("layout.yaml", "pelvis", "hips"),
        "class": ("sequences.csv", ",walk,", ",walking,"),
        "split": ("sequences.csv", "split_mine", "split_yours"),
        "default split": ("sequences.csv", "split_xsub", "split_zz"),
    }[change]
    (raw / name).write_text((raw / name).read_text().replace(old, new))
    second = prepare("folder", raw, out)
    assert not second.already and prepare("folder", raw, out).already
    new_one = prepare("folder", raw, tmp_path / "anew").store
    assert content(out) == content(new_one.path)
    assert second.store.digest != first.digest


def test_a_new_version_of_a_reader_reads_all_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (raw / BAD).unlink()
    prepare("ntu60", raw, tmp_path / "store")
    newer = replace(get_reader("ntu60"), version=2)
    monkeypatch.setattr("c2vl.skeletons.preparing.prepare.get_reader", lambda name: newer)
    assert prepare("ntu60", raw, tmp_path / "store").read == 5


def test_the_licence_is_kept_and_can_be_told_later(raw: Path, tmp_path: Path) -> None:
    (raw / BAD).unlink()
    out = tmp_path / "store"
    first = prepare("ntu60", raw, out).store
    assert "licence" not in first.manifest
    told = prepare("ntu60", raw, out, licence="research only")
    assert (told.read, told.store.manifest["licence"]) == (0, "research only")
    assert told.store.digest == first.digest
    write(raw, 3)
    assert prepare("ntu60", raw, out).store.manifest["licence"] == "research only"
    assert Store.open(out).manifest["licence"] == "research only"


def test_the_same_id_twice(raw: Path, tmp_path: Path) -> None:
    (raw / BAD).unlink()
    (raw / "Again").mkdir()
    twin = next(raw.glob("*.skeleton"))
    (raw / "Again" / twin.name).write_bytes(twin.read_bytes())
    prepared = prepare("ntu60", raw, tmp_path / "store", max_rejected=1)
    assert [one.file for one in prepared.rejected] == [twin.name]
    assert "the first is in Again/" in prepared.rejected[0].reason and len(prepared.store) == 5
    (raw / "Again" / twin.name).write_text("0\n")  # now the other one is the first
    prepared = prepare("ntu60", raw, tmp_path / "store")
    assert len(prepared.store) == 5 and (prepared.read, prepared.taken) == (2, 4)


def test_a_different_store_is_not_overwritten(raw: Path, tmp_path: Path) -> None:
    (raw / BAD).unlink()
    out = tmp_path / "store"
    before = prepare("ntu60", raw, out).store
    for other in ({"name": "ntu120"}, {"dtype": "float16"}):
        asked: dict[str, object] = {"name": "ntu60", "source": raw, "out": out} | other
        with pytest.raises(UserError, match=r"holds another store .NTU RGB"):
            prepare(**asked)  # type: ignore[arg-type]
    assert Store.open(out).digest == before.digest
    half = prepare("ntu60", raw, out, dtype="float16", overwrite=True).store
    np.testing.assert_allclose(half.joints(0), before.joints(0), atol=2e-3)
    assert half.joints(0).dtype == np.float32
    half.verify()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(UserError, match="is no prepared store"):
        prepare("ntu60", raw, other, overwrite=True)
    assert (other / "thesis.txt").exists()
    with pytest.raises(UserError, match="--window: ntu60 has no such option"):
        prepare("ntu60", raw, tmp_path / "new", options=Options(window=30))


def test_a_stop_in_the_middle_leaves_the_old_store(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    before = content(prepare("ntu60", raw, out, max_rejected=1).store.path)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("ntu60", raw, out, max_rejected=1, overwrite=True, progress=stop)
    assert content(out) == before
    assert prepare("ntu60", raw, out, max_rejected=1).already
    replaced = os.replace

    def killed_before_the_manifest(source: Path, target: Path) -> None:
        if Path(target).name == "manifest.json":
            raise KeyboardInterrupt
        replaced(source, target)

    write(raw, 50)
    monkeypatch.setattr(os, "replace", killed_before_the_manifest)
    for target in (out, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            prepare("ntu60", raw, target, max_rejected=1)
    monkeypatch.undo()
    assert len(Store.open(out)) == 5
    for target in (out, tmp_path / "new"):
        prepare("ntu60", raw, target, max_rejected=1)
    assert content(out) == content(tmp_path / "new") and len(Store.open(out)) == 6


@pytest.mark.faults
def test_killed_and_gone_on_with_over_processes(tmp_path: Path) -> None:
    """SIGKILL in the middle, then again: the bytes of an undisturbed run, at any number of jobs."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(400):
        write(raw, number)
    (raw / BAD).write_text("3\n1\n")
    words = [Path(sys.executable).parent / "c2vl", "data", "prepare", "ntu60", raw]
    words += [tmp_path / "killed", "--jobs", "2", "--max-rejected", "1"]
    process = subprocess.Popen(words, start_new_session=True)
    work = tmp_path / "killed.preparing"
    deadline = time.monotonic() + 60
    while len(list(work.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in work.glob("*.json")}
    assert 2 <= len(finished) < 7
    assert not (tmp_path / "killed").exists()
    while subprocess.run(["pgrep", "-g", str(process.pid)], stdout=-3, check=False).returncode == 0:
        assert time.monotonic() < deadline, "the reading processes outlive their parent"
        time.sleep(0.05)
    finished = {path.name: path.stat().st_mtime_ns for path in work.glob("*.json")}
    with (work / "lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = subprocess.run(words, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "another process is preparing this store" in refused.stderr
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "399 sequences" in again.stdout and not work.exists()
    alone = prepare("ntu60", raw, tmp_path / "alone", jobs=1, max_rejected=1)
    assert content(tmp_path / "killed") == content(tmp_path / "alone")
    assert asdict(alone.unusable[0])["file"] == BAD


def test_what_later_steps_miss_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write_folder(tmp_path / "source", "\n")
    lines = missing_later(prepare("folder", tmp_path / "source", tmp_path / "store").store)
    joints = "left_elbow, left_wrist, left_hip, left_knee, left_ankle, right_elbow"
    assert any(f"need {joints}" in line for line in lines)
    assert any("who was recorded" in line for line in lines)


def test_a_full_disk_is_told(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("c2vl.skeletons.preparing.prepare.read_chunks", full)
    with pytest.raises(StorageFull, match=r"store\.preparing: cannot be written .No space left"):
        prepare("ntu60", raw, tmp_path / "store")
