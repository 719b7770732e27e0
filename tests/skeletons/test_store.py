from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.preprocess import preprocess
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError


def copied(store: Store, tmp_path: Path) -> Path:
    shutil.copytree(store.path, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    return tmp_path / "copy"


def test_layout_of_the_rows(demo_store: Store) -> None:
    index = demo_store.index
    rows = np.load(demo_store.data / "joints.npy", mmap_mode="r")
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


def data(folder: Path) -> Path:
    """The folder of a store's arrays."""
    (found,) = folder.glob("data-*")
    return found


def _truncate(folder: Path) -> None:
    content = (data(folder) / "joints.npy").read_bytes()
    (data(folder) / "joints.npy").write_bytes(content[: len(content) // 2])


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
        (lambda folder: (data(folder) / "index.parquet").write_bytes(b"PAR1"), "damaged"),
        (lambda folder: (data(folder) / "joints.npy").unlink(), "joints.npy"),
        (lambda folder: shutil.rmtree(data(folder)), "missing from the store"),
        (_truncate, "damaged"),
        (_edit(format=99), "store format 99, this version reads 2"),
        (_edit(counts={"rows": 1, "sequences": 1}), "expected"),
        (_edit(data="../elsewhere"), "no folder of a store"),
    ],
)
def test_damage_is_a_users_error(
    demo_store: Store, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = copied(demo_store, tmp_path)
    damage(folder)
    with pytest.raises(UserError, match=message):
        Store.open(folder)


def test_verify_names_the_sequence_with_a_changed_bit(demo_store: Store, tmp_path: Path) -> None:
    folder = copied(demo_store, tmp_path)
    Store.open(folder).verify()
    content = bytearray((data(folder) / "joints.npy").read_bytes())
    content[-3] ^= 1
    (data(folder) / "joints.npy").write_bytes(content)
    last = demo_store.index["id"].iloc[-1]
    with pytest.raises(UserError, match=f"1 of 104 sequences .*{last}"):
        Store.open(folder).verify()
    index = pd.read_parquet(data(folder) / "index.parquet")
    index.assign(label=0).to_parquet(data(folder) / "index.parquet")
    with pytest.raises(UserError, match="the table does not fit"):
        Store.open(folder).verify()


def test_clips_are_those_of_single_sequences(demo_store: Store) -> None:
    clips = load_clips(demo_store, frames=32)
    x = clips.dense(np.arange(len(demo_store)))
    assert x.shape == (len(demo_store), 2, 32, 25, 3)
    assert len(clips.bodies) == demo_store.index["bodies"].sum() < clips.present.size
    assert (clips.present.sum(axis=1) == demo_store.index["bodies"]).all()
    assert not x[~clips.present].any()
    for position in range(0, len(demo_store), 7):
        one = preprocess(demo_store.joints(position), demo_store.layout, frames=32)
        np.testing.assert_allclose(x[position, : len(one)], one, atol=1e-6)


def test_clips_are_cached_by_content_and_settings(demo_store: Store, tmp_path: Path) -> None:
    store = Store.open(copied(demo_store, tmp_path))
    load_clips(store, frames=16)
    (entry,) = (store.path / "cache").glob("clips-*")
    stamp = (entry / "bodies.npy").stat().st_mtime_ns
    load_clips(store, frames=16)
    assert (entry / "bodies.npy").stat().st_mtime_ns == stamp
    load_clips(store, frames=16, align=False)
    assert len(list((store.path / "cache").glob("clips-*"))) == 2
