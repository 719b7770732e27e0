"""The cache: made once, remade where damaged, kept within its limit."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.data import data
from c2vl.skeletons.cache import Cache
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError


def made(cache: Cache, number: int, size: int = 1000) -> bytes:
    def make(folder: Path) -> None:
        (folder / "content").write_bytes(bytes([number]) * size)

    return cache.get(
        "clips", {"number": number}, make, lambda folder: (folder / "content").read_bytes()
    )


def test_an_entry_is_made_once_however_many_ask(tmp_path: Path) -> None:
    times = []

    def make(folder: Path) -> None:
        times.append(1)
        time.sleep(0.2)
        np.save(folder / "rows.npy", np.arange(5))

    def ask(_: int) -> int:
        rows = Cache(tmp_path).get("rows", {}, make, lambda folder: np.load(folder / "rows.npy"))
        return int(rows.sum())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [10] * 4
    assert len(times) == 1
    (entry,) = tmp_path.glob("rows-*")
    (entry / "rows.npy").write_bytes((entry / "rows.npy").read_bytes()[:-1])
    (tmp_path / f".tmp-{entry.name}-killed").mkdir()
    assert ask(0) == 10 and len(times) == 2
    assert not list(tmp_path.glob(".tmp-*"))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=2500)
    (tmp_path / "mine.txt").write_text("not the cache's")
    for number in (1, 2):
        made(cache, number)
    for place, entry in enumerate(cache.entries()):
        os.utime(entry.path, (place, place))
    made(cache, 1)  # used again
    made(cache, 3)
    assert sorted(entry.about["number"] for entry in cache.entries()) == [1, 3]
    made(cache, 4, size=9000)  # alone over the limit: it is kept, since it is in use
    assert [entry.about["number"] for entry in cache.entries()] == [4]
    assert cache.prune(0) and not cache.entries() and (tmp_path / "mine.txt").exists()


def test_a_store_that_may_only_be_read(
    demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only mount: what its cache has is read, what it lacks is made at home."""
    store = tmp_path / "store"
    shutil.copytree(demo_store.path, store, ignore=shutil.ignore_patterns("cache"))
    monkeypatch.delenv("C2VL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    made(Cache.of(Store.open(store)), 1)
    before = sorted(store.rglob("*"))
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(str(store)) and access(path, mode)
    )
    cache = Cache.of(Store.open(store))
    assert made(cache, 1) and not (tmp_path / "home").exists()
    assert made(cache, 2) and len(list((tmp_path / "home/c2vl").glob("clips-*"))) == 1
    assert sorted(store.rglob("*")) == before


def test_the_command_lists_and_prunes(
    demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2VL_CACHE", str(tmp_path / "cache"))
    load_clips(demo_store, frames=12)
    earlier = tmp_path / "cache" / "0123456789abcdef"  # as an earlier version kept clips
    earlier.mkdir()
    (earlier / "clips.npy").write_bytes(bytes(100))
    shown = CliRunner().invoke(data, ["cache", str(demo_store.path)]).output
    assert "clips" in shown and "frames=12" in shown and "earlier" in shown
    assert str(tmp_path / "cache") in shown
    pruned = CliRunner().invoke(data, ["cache", str(demo_store.path), "--keep", "0"]).output
    assert "2 deleted" in pruned and not list((tmp_path / "cache").glob("[!.]*"))
    monkeypatch.setenv("C2VL_CACHE_GB", "much")
    with pytest.raises(UserError, match="C2VL_CACHE_GB"):
        load_clips(demo_store, frames=12)
