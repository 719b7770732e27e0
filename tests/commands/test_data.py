from __future__ import annotations

from pathlib import Path

import pandas as pd
from click.testing import CliRunner

from c2vl.commands.data import data
from c2vl.registry import names
from c2vl.skeletons.datasets import Options, get_reader
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError


def said(*words: object) -> str:
    """Run ``c2vl data``; what it printed."""
    result = CliRunner().invoke(data, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_prepare_and_look(tmp_path: Path) -> None:
    small = ["--subjects", "2", "--cameras", "1", "--replications", "1"]
    generated = said("demo", tmp_path / "demo", "--keep-raw", tmp_path / "raw", *small)
    assert "26 sequences of demo (generated)" in generated
    assert len(get_reader("demo").discover(tmp_path / "raw", Options()).items) == 26
    (tmp_path / "raw" / "S001C001P001R001A099.skeleton").write_text("0")
    (tmp_path / "raw" / "S001C001P003R001A001.skeleton").write_text("1\n0\n")
    words = ["prepare", "demo", tmp_path / "raw", tmp_path / "store", "--max-rejected", 1]
    first = said(*words)
    assert "26 sequences" in first and "1 rejected, 1 left out by rule: " in first
    assert "nothing to do" in said(*words)
    assert "26 sequences, all as they were prepared" in said("verify", tmp_path / "store")
    shown = said("describe", tmp_path / "store")
    for expected in (
        "lengths",
        "1 rejected: action 99 is outside",
        "1 left out: no frame has a body",
        "empty frames dropped",
        "subject",
    ):
        assert expected in shown, expected
    listed = pd.read_csv(Store.open(tmp_path / "store").data / "rejected.csv")
    assert set(listed["left_out"].fillna("")) == {"yes", ""}


def test_splits_beside_official_counts(demo_store: Store, utd_store: Store) -> None:
    shown = said("splits", utd_store.path)
    assert "431" in shown and "430" in shown and "the same" in shown
    shown = said("splits", demo_store.path, "loso:2")
    assert "loso:2" in shown and "78" in shown
    result = CliRunner().invoke(data, ["splits", str(demo_store.path), "loso:99"])
    assert isinstance(result.exception, UserError)


def test_export(utd_store: Store, tmp_path: Path) -> None:
    assert "861 sequences" in said("export", utd_store.path, tmp_path / "utd.pkl")
    assert "431 train, 430 test, 125 frames" in said("export", utd_store.path, tmp_path / "u.npz")


def test_the_help_says_what_a_source_is() -> None:
    shown = said("prepare", "--help")
    assert all(name in shown for name in names("dataset"))
