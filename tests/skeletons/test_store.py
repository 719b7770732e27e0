from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.errors import UserError
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.commands import data
from c2vl.skeletons.ntu_files import Seen, skeleton_text
from c2vl.skeletons.prepare import prepare
from c2vl.skeletons.preprocess import preprocess
from c2vl.skeletons.readers import READERS
from c2vl.skeletons.store import Store


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six small files, one of which is damaged."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        joints = rng.uniform(-1, 1, (10 + number, 25, 3)) + np.array([0, 0, 3])
        bodies = [Seen(1, np.arange(10 + number), joints)]
        text = skeleton_text(bodies) if number != 4 else "3\n1\n"
        (folder / f"S001C001P00{number}R001A001.skeleton").write_text(text)
    return folder


def copied(store: Store, tmp_path: Path) -> Path:
    shutil.copytree(store.path, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    return tmp_path / "copy"


def test_layout_of_the_rows(demo_store: Store) -> None:
    index = demo_store.index
    rows = np.load(demo_store.path / "joints.npy", mmap_mode="r")
    assert rows.shape == ((index["frames"] * index["bodies"]).sum(), 25, 3)
    assert (
        index["offset"].diff().dropna() == (index["frames"] * index["bodies"])[:-1].values
    ).all()
    for position in (0, len(index) - 1):
        joints = demo_store.joints(position)
        row = index.iloc[position]
        assert joints.shape == (row["bodies"], row["frames"], 25, 3)
        assert joints.dtype == np.float32 and not joints.flags.writeable
    assert list(index["id"]) == sorted(index["id"])
    demo_store.verify()


def test_rejected_files(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with pytest.raises(UserError, match=r"1 of 6 files .* --max-rejected 0"):
        prepare("ntu60", raw, out)
    assert not out.exists() and not list(tmp_path.glob(".tmp-*"))
    assert "S001C001P004R001A001.skeleton" in (tmp_path / "store.rejected.csv").read_text()
    prepared = prepare("ntu60", raw, out, max_rejected=1)
    assert [name for name, _ in prepared.rejected] == ["S001C001P004R001A001.skeleton"]
    assert prepared.store.manifest["counts"]["rejected"] == 1 and len(prepared.store) == 5
    assert (out / "rejected.csv").is_file() and not (tmp_path / "store.rejected.csv").exists()
    again = prepare("ntu60", raw, out)
    assert again.already and again.rejected == prepared.rejected


def test_nothing_usable(raw: Path, tmp_path: Path) -> None:
    for path in raw.iterdir():
        path.write_text("")
    with pytest.raises(UserError, match="none of the 6 files"):
        prepare("ntu60", raw, tmp_path / "store", max_rejected=99)
    assert not (tmp_path / "store").exists()


def test_a_failure_in_the_middle_leaves_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    first = prepare("ntu60", raw, out, max_rejected=1).store.digest

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for target, overwrite in ((tmp_path / "new", False), (out, True)):
        with pytest.raises(KeyboardInterrupt):
            prepare("ntu60", raw, target, max_rejected=1, overwrite=overwrite, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]
    assert Store.open(out).digest == first


def test_a_different_store_is_not_overwritten(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    before = prepare("ntu60", raw, out, max_rejected=1).store
    (raw / "S001C001P004R001A001.skeleton").unlink()
    with pytest.raises(UserError, match="holds another store"):
        prepare("ntu60", raw, out)
    after = prepare("ntu60", raw, out, overwrite=True).store
    assert after.digest == before.digest  # the same content, wherever it came from
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(UserError, match="is no prepared store"):
        prepare("ntu60", raw, other, overwrite=True)
    assert (other / "thesis.txt").exists()


def _truncate(folder: Path) -> None:
    content = (folder / "joints.npy").read_bytes()
    (folder / "joints.npy").write_bytes(content[: len(content) // 2])


def _edit(**values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | values))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no prepared store here"),
        (lambda folder: (folder / "manifest.json").unlink(), "no prepared store here"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "index.parquet").write_bytes(b"PAR1"), "damaged"),
        (lambda folder: (folder / "joints.npy").unlink(), "joints.npy"),
        (_truncate, "damaged"),
        (_edit(format=99), "store format 99, this version reads 1"),
        (_edit(counts={"rows": 1, "sequences": 1}), "expected"),
    ],
)
def test_damage_is_a_users_error(
    demo_store: Store, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = copied(demo_store, tmp_path)
    damage(folder)
    with pytest.raises(UserError, match=message):
        Store.open(folder)


def test_verify_notices_one_changed_bit(demo_store: Store, tmp_path: Path) -> None:
    folder = copied(demo_store, tmp_path)
    Store.open(folder).verify()
    content = bytearray((folder / "joints.npy").read_bytes())
    content[-3] ^= 1
    (folder / "joints.npy").write_bytes(content)
    with pytest.raises(UserError, match="checksum"):
        Store.open(folder).verify()


def test_clips_are_those_of_single_sequences(demo_store: Store) -> None:
    clips = load_clips(demo_store, frames=32)
    assert clips.x.shape == (len(demo_store), 2, 32, 25, 3)
    assert (clips.present.sum(axis=1) == demo_store.index["bodies"]).all()
    assert not clips.x[~clips.present].any()
    for position in range(0, len(demo_store), 7):
        one = preprocess(demo_store.joints(position), demo_store.layout, frames=32)
        np.testing.assert_allclose(clips.x[position, : len(one)], one, atol=1e-6)


def test_clips_are_cached_by_content_and_settings(demo_store: Store, tmp_path: Path) -> None:
    store = Store.open(copied(demo_store, tmp_path))
    load_clips(store, frames=16)
    entries = sorted((store.path / "cache").iterdir())
    stamp = (entries[0] / "clips.npy").stat().st_mtime_ns
    load_clips(store, frames=16)
    assert sorted((store.path / "cache").iterdir()) == entries
    assert (entries[0] / "clips.npy").stat().st_mtime_ns == stamp
    load_clips(store, frames=16, align=False)
    assert len(list((store.path / "cache").iterdir())) == 2


def test_commands(raw: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    arguments = ["prepare", "ntu60", str(raw), str(tmp_path / "store"), "--max-rejected", "1"]
    first = runner.invoke(data, arguments, catch_exceptions=False)
    assert "5 sequences of NTU RGB+D 60" in first.output and "1 files were rejected" in first.output
    assert "nothing to do" in runner.invoke(data, arguments).output
    shown = runner.invoke(data, ["describe", str(tmp_path / "store"), "--verify"])
    assert shown.exit_code == 0 and "drink water" in shown.output and "lengths" in shown.output
    small = ["--subjects", "1", "--cameras", "1", "--replications", "1"]
    generated = runner.invoke(
        data,
        ["demo", str(tmp_path / "demo"), "--keep-raw", str(tmp_path / "kept"), *small],
        catch_exceptions=False,
    )
    assert "13 sequences of demo (generated)" in generated.output
    assert len(list((tmp_path / "kept").iterdir())) == 13
    READERS["demo"].discover(tmp_path / "kept")
