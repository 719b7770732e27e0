from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from c2vl.skeletons.splits import RULES, folds, offered, split
from c2vl.skeletons.store import Store, read_columns
from c2vl.support.errors import UserError


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
        (table("folder", subject=[1, 2]), "xsub", "not for folder; it can be loso:1, subject:1"),
        (table("folder", subject=[1, 2]), "mine", "not known; it can be loso:1, .* a CSV file"),
        (table("folder", subject=[1, 2]), "loso:x", "should be like loso:3"),
        (table("folder", subject=[1, 2]), "loso:9", "leaves the test part empty"),
        (
            table("utd-mhad", subject=[1, 2]),
            "xview",
            "not for utd-mhad; it can be xsub, utd_xsub, loso:1",
        ),
        (table("utd-mhad", subject=[1, 2]), "xsub60", "not for utd-mhad; it can be xsub, utd_xsub"),
        (table(subject=[1, 2]), "xset120", "needs the setup"),
        (table("demo", subject=[1, 3]), "xsub", "leaves the test part empty"),
    ],
)
def test_mistakes_are_named(index: pd.DataFrame, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(index, name)


def test_one_subject_left_out() -> None:
    index = table("utd-mhad", subject=[1, 3, 2, 3])
    parts = split(index, "loso:3")
    assert parts.test.tolist() == [1, 3] and parts.train.tolist() == [0, 2]


def test_columns_are_cut_like_the_table(demo_store: Store) -> None:
    """What is read before pandas is imported."""
    columns = read_columns(demo_store.path)
    for name in ("xsub", "loso:1", "camera:1"):
        ours, theirs = split(columns, name), split(demo_store.index, name)
        assert ours.name == theirs.name and ours.train.tolist() == theirs.train.tolist()
        by = folds(columns, ours.train, by="subject", k=2)
        assert by.tolist() == folds(demo_store.index, ours.train, by="subject", k=2).tolist()


def test_lists_that_came_with_the_data() -> None:
    index = table("pkummd1", subject=[-1, -1, -1])
    index["split_xsub"] = ["test", "", "train"]
    parts = split(index, "xsub")
    assert (parts.name, parts.train.tolist(), parts.test.tolist()) == ("xsub", [2], [0])
    index["split_xview"] = ["test", "", "test"]
    with pytest.raises(UserError, match='"xview" has no sequence of this store under train'):
        split(index, "xview")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    index = table(subject=[1, 1, 2])
    index["id"] = ["a", "b", "c"]
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffid,part\r\nc,train\r\na,test\r\nb,\r\n", encoding="utf-8")
    parts = split(index, str(path))
    assert parts.train.tolist() == [2] and parts.test.tolist() == [0]
    for text, message in (
        ("id,part\nc,train\nx,test\n", 'line 3: no sequence of the store is named "x"'),
        ("id,part\nc,train\nc,test\n", 'line 3: "c" is listed twice'),
        ("id,part\nc,dev\n", 'line 2: part is "dev", expected train or test'),
        ("id;part\nc;train\n", "name the columns id and part; separate columns by commas"),
        ("id\nc\n", "must name the columns id and part"),
        ("id,part\nc,train\n", "no sequence of this store under test"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            split(index, str(path))
    path.write_bytes(b"id,part\n\xff,train\n")
    with pytest.raises(UserError, match=r"mine\.csv, line 2: not UTF-8 text; save it as"):
        split(index, str(path))
    with pytest.raises(UserError, match=r"absent\.csv cannot be read"):
        split(index, str(tmp_path / "absent.csv"))


def test_every_rule_has_its_counts() -> None:
    assert [name for name, rule in RULES.items() if rule.official is None] == ["demo_xsub"]
    assert sum(RULES["utd_xsub"].official or ()) == 861


def test_folds_keep_groups_whole() -> None:
    index = table(subject=[9, 1, 5, 3, 9, 1, 7, 2])
    positions = np.array([0, 1, 2, 3, 4, 5, 6])
    assert folds(index, positions, by="subject", k=2).tolist() == [0, 0, 0, 1, 0, 0, 1]
    assert folds(index, positions, by="subject", k=5).tolist() == [4, 0, 2, 1, 4, 0, 3]
    with pytest.raises(UserError, match="6 folds need as many groups"):
        folds(index, positions, by="subject", k=6)
    with pytest.raises(UserError, match=r"the camera of some .* known; group by subject"):
        folds(index, positions, by="camera", k=2)


def test_groups_to_train_on_are_a_split() -> None:
    index = pd.DataFrame({"id": list("abcd"), "subject": [1, 2, 3, 2], "camera": -1, "setup": -1})
    found = split(index, "subject:1,3")
    assert (found.train.tolist(), found.test.tolist()) == ([0, 2], [1, 3])
    assert offered(index) == ["loso:1", "subject:1,3"]
    for name, message in (
        ("subject:1;3", "should be like subject:1,3,5"),
        ("subject:1,9", "has no subject 9"),
        ("subject:1,2,3", "leaves the test part empty"),
        ("camera:1", "needs the camera of every sequence"),
    ):
        with pytest.raises(UserError, match=message):
            split(index, name)
