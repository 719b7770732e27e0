from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from c2vl.errors import UserError
from c2vl.skeletons.splits import NAMES, folds, split
from c2vl.skeletons.store import Store


def table(reader: str | None = None, **columns: list[int]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    absent = dict.fromkeys(("label", "subject", "camera", "setup"), [-1] * length)
    frame = pd.DataFrame(absent | columns)
    if reader is not None:
        frame.attrs["reader"] = reader
    return frame


@pytest.mark.parametrize(
    ("dataset", "name", "short", "train", "test"),
    [
        (60, "xsub60", "xsub", 40091, 16487),
        (60, "xview60", "xview", 37646, 18932),
        (120, "xsub120", "xsub", 63026, 50919),
        (120, "xset120", "xset", 54468, 59477),
    ],
)
def test_official_counts(
    ntu_lists: Path, dataset: int, name: str, short: str, train: int, test: int
) -> None:
    with gzip.open(ntu_lists / f"ntu{dataset}_samples.txt.gz", "rt") as file:
        fields = [list(map(int, re.findall(r"\d{3}", line))) for line in file if line.strip()]
    setup, camera, subject, *_ = map(list, zip(*fields, strict=True))
    index = table(f"ntu{dataset}", subject=subject, camera=camera, setup=setup)
    for asked in (name, short):
        parts = split(index, asked)
        assert (parts.name, len(parts.train), len(parts.test)) == (name, train, test)


def test_every_sequence_is_in_one_part(demo_store: Store) -> None:
    parts = split(demo_store.index, "xsub")
    assert parts.name == "demo_xsub"
    together = np.concatenate([parts.train, parts.test])
    assert np.array_equal(np.sort(together), np.arange(len(demo_store)))
    subjects = demo_store.index["subject"].to_numpy()
    assert set(subjects[parts.train]) == {1, 3} and set(subjects[parts.test]) == {2, 4}
    assert parts.train.dtype == np.int64


@pytest.mark.parametrize(
    ("index", "name", "message"),
    [
        (table(subject=[1, 2]), "xsub61", "did you mean"),
        (table(subject=[1, 2]), "xsub", "no meaning"),
        (table("utd-mhad", subject=[1, 2]), "xview", "no meaning for utd-mhad"),
        (table("utd-mhad", subject=[1, 2]), "xsub60", "not for utd-mhad; it has utd_xsub"),
        (table(subject=[1, 2]), "xset120", "needs the setup"),
        (table("demo", subject=[1, 3]), "xsub", "leaves the test part empty"),
    ],
)
def test_mistakes_are_named(index: pd.DataFrame, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(index, name)


def test_names_are_complete() -> None:
    assert {"xsub60", "xview60", "xsub120", "xset120", "utd_xsub", "demo_xsub"} < set(NAMES)


def test_folds_keep_groups_whole() -> None:
    index = table(subject=[9, 1, 5, 3, 9, 1, 7, 2])
    positions = np.array([0, 1, 2, 3, 4, 5, 6])
    assert folds(index, positions, by="subject", k=2).tolist() == [0, 0, 0, 1, 0, 0, 1]
    assert folds(index, positions, by="subject", k=5).tolist() == [4, 0, 2, 1, 4, 0, 3]
    with pytest.raises(UserError, match="6 folds need as many groups"):
        folds(index, positions, by="subject", k=6)
    with pytest.raises(UserError, match="the camera of some sequences is not known"):
        folds(index, positions, by="camera", k=2)
