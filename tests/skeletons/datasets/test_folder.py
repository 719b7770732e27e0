from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from c2vl.skeletons.datasets import Found, Options, Rejected, get_reader, read_item
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from tests.skeletons.datasets.writers import LAYOUT, write_folder

READER = get_reader("folder")
JOINTS = np.random.default_rng(0).normal(size=(4, 5, 3))


def read(folder: Path) -> tuple[Found, dict[str, Sequence], list[Rejected]]:
    found = READER.discover(folder, Options())
    everything = [one for item in found.items for one in read_item(READER.read, item)]
    rejected = [*found.rejected, *(one for one in everything if isinstance(one, Rejected))]
    return found, {one.id: one for one in everything if isinstance(one, Sequence)}, rejected


def write(folder: Path, table: str | bytes, **arrays: np.ndarray) -> None:
    (folder / "layout.yaml").write_text(LAYOUT)
    content = table if isinstance(table, bytes) else table.encode()
    (folder / "sequences.csv").write_bytes(content)
    for name, array in (arrays or {"a": JOINTS}).items():
        np.save(folder / f"{name}.npy", array)


def test_what_the_table_says(tmp_path: Path) -> None:
    write_folder(tmp_path, "\n")
    found, sequences, _ = read(tmp_path)
    assert found.layout.name == "my_sensor" and found.class_names == ("sit", "walk")
    assert found.default_split == "xsub"
    assert [item.facts["id"] for item in found.items] == list(sequences)
    assert sequences["first"].source == "arrays/walk 1.npy"


def test_a_file_that_is_missing_says_where_one_comes_from(tmp_path: Path) -> None:
    write(tmp_path, "id,label\na,1\n")
    (tmp_path / "layout.yaml").unlink()
    with pytest.raises(UserError, match=r"no layout\.yaml in it; .* layouts ntu25 --out layout"):
        read(tmp_path)
    (tmp_path / "sequences.csv").unlink()
    with pytest.raises(UserError, match=r"no sequences\.csv in it; .* columns id and label"):
        read(tmp_path)


def test_numbered_classes(tmp_path: Path) -> None:
    write(tmp_path, "\ufeffid,label\na,3\nb,0\n", a=JOINTS, b=JOINTS)
    found, sequences, rejected = read(tmp_path)
    assert not rejected and found.default_split == ""
    assert found.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert [one.label for one in sequences.values()] == [3, 0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", 'line 1: there is no column "id"'),
        ("id\na\n", 'line 1: there is no column "label"'),
        ("id,label,lable\na,1,1\n", 'line 1: column "lable" is not known; did you mean "label"'),
        ("id;label\na;1\n", 'line 1: column "id;label" is not known; separate columns by commas'),
        ("id,label,id\na,1,a\n", 'line 1: column "id" is there twice'),
        ("id,label,split_\na,1,\n", 'line 1: column "split_" is not known'),
        ("id,label\na,1\nb\n", "line 3: 1 fields, but there are 2 columns"),
        ('id,label\na,1\n"b,1\n', r"line 3"),
        ("id,label\na,1\nb,walk\n", 'line 3: label "walk" is a name'),
        ("id,label\n", "there is no row"),
        (b"id,label\na,\xff\n", "line 2: not UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, table: str | bytes, message: str) -> None:
    write(tmp_path, table)
    if message == "there is no row":
        (tmp_path / "a.npy").unlink()
    with pytest.raises(UserError, match=rf"sequences\.csv.*{message}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("id,label\na,1\nb,1\n", 3, "is no b.npy or .npz"),
        ("id,label,file\na,1,\nb,1,c.npy\n", 3, 'no file "c.npy"'),
        ("id,label,file\na,1,\nb,1,../a.npy\n", 3, "leaves the folder"),
        ("id,label,file\na,1,\nb,1,x/../../a.npy\n", 3, "leaves the folder"),
        ("id,label,file\na,1,\nb,1,/etc/passwd\n", 3, "leaves the folder"),
        ("id,label,file\na,1,\nb,1,C:\\a.npy\n", 3, "leaves the folder"),
        ("id,label,file\na,1,\nb,1,..\\a.npy\n", 3, "leaves the folder"),
        ("id,label,file\na,1,\nb,1,a.npy\n", 3, "an earlier row"),
        ("id,label,file\na,1,\nb,1,layout.yaml\n", 3, "no file"),
        ("id,label,file\na,1,a.npy\n,1,a.npy\n", 3, "id is empty"),
        ("id,label\na,1\nb,\n", 3, "no label: give"),
        ("id,label\na,1\nb,-1\n", 3, 'label "-1"'),
        ("id,label\na,1\nb,1000000000\n", 3, 'label "1000000000"'),
        ("id,label,subject\na,1,1\nb,1,one\n", 3, 'subject "one"'),
        ("id,label,camera\na,1,1\n\nb,1,-1\n", 4, 'camera "-1"'),
        ("id,label,setup\na,1,1\nb,1,1.5\n", 3, 'setup "1.5"'),
        ("id,label,split_mine\na,1,train\nb,1,Test\n", 3, 'split_mine "Test" is neither'),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, table: str, line: int, message: str) -> None:
    write(tmp_path, table)
    _, sequences, rejected = read(tmp_path)
    assert list(sequences) == ["a"] and len(rejected) == 1
    assert rejected[0].file == "sequences.csv" and rejected[0].line == line
    assert message in rejected[0].reason


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 3)), "no frame has a body"),
        (np.full((4, 5, 3), np.nan), "not finite"),
        (np.full((4, 5, 3), np.inf), "not finite"),
        (np.full((4, 5, 3), 4000), "over 1000 m"),
        (np.ones((4, 6, 3)), "6 joints, but layout.yaml has 5"),
        (np.ones((4, 5, 2)), "expected (frames, joints, 3)"),
        (np.ones((17, 4, 5, 3)), "at most 16 bodies"),
        (np.ones((5, 3)), "expected (frames, joints, 3)"),
        (np.ones((0, 5, 3)), "nothing in it"),
        (np.array({}), "no plain numbers"),
        (np.ones((4, 5, 3), dtype=bool), "holds bool"),
        (np.ones((4, 5, 3), dtype=complex), "no plain numbers"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, array: np.ndarray, message: str) -> None:
    write(tmp_path, "id,label\na,1\nb,1\n", a=JOINTS, b=array)
    _, sequences, rejected = read(tmp_path)
    assert list(sequences) == ["a"]
    assert rejected[0].file == "b.npy" and message in rejected[0].reason


def test_files_that_no_row_names(tmp_path: Path) -> None:
    write(tmp_path, "id,label\na,1\n", a=JOINTS, b=JOINTS)
    np.savez(tmp_path / "c.npz", JOINTS, JOINTS)
    _, _, rejected = read(tmp_path)
    assert [one.file for one in rejected] == ["b.npy", "c.npz"]
    assert all("no row of sequences.csv names it" in one.reason for one in rejected)


def test_names_that_are_not_sure(tmp_path: Path) -> None:
    write(tmp_path, "id,label\na,1\nb,1\n", a=JOINTS, b=JOINTS)
    np.savez(tmp_path / "a.npz", JOINTS, JOINTS)
    np.savez(tmp_path / "c.npz", JOINTS, JOINTS)
    _, sequences, rejected = read(tmp_path)
    assert list(sequences) == ["b"] and "there are a.npy, a.npz" in rejected[0].reason
    write(tmp_path, "id,label,file\nc,1,c.npz\n", a=JOINTS)
    _, sequences, rejected = read(tmp_path)
    assert not sequences and "2 arrays in it" in rejected[-1].reason


def test_what_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sequences\.csv"):
        read(tmp_path)
    write(tmp_path, "id,label\na,1\n")
    (tmp_path / "layout.yaml").unlink()
    with pytest.raises(UserError, match=r"no layout\.yaml"):
        read(tmp_path)
    (tmp_path / "layout.yaml").write_text("name: [")
    with pytest.raises(UserError, match=r"layout\.yaml"):
        read(tmp_path)
    (tmp_path / "more").mkdir()
    write(tmp_path / "more", "id,label\na,1\n")
    with pytest.raises(UserError, match=r"sequences\.csv, sequences\.csv; give|holds more/"):
        read(tmp_path)


def test_a_layout_in_an_archive_is_named_as_it_is_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("sequences.csv", "id,label\n")
        archive.writestr("layout.yaml", "name: 3\n")
    with pytest.raises(UserError, match=r"^mine\.zip/layout\.yaml|^layout\.yaml"):
        read(tmp_path)
