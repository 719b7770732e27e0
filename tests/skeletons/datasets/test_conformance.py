"""What every reader has to do, whatever its format."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from c2vl.registry import parts
from c2vl.skeletons.datasets import Found, Options, Rejected, get_reader, read_item
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from tests.skeletons.datasets.cases import CASES, Case
from tests.skeletons.datasets.writers import Written

FACTS = ("label", "subject", "camera", "setup", "replication", "start", "end", "parts")


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    assert isinstance(request.param, Case)
    return request.param


@pytest.fixture(scope="module")
def dataset(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Written]]:
    folder = tmp_path_factory.mktemp(case.reader) / "source"
    folder.mkdir()
    return folder, case.write(folder, "\n")


def read_all(case: Case, source: Path) -> tuple[Found, list[Sequence], list[Rejected]]:
    reader = get_reader(case.reader)
    found = reader.discover(source, case.options)
    read: list[Sequence] = []
    rejected = list(found.rejected)
    for item in found.items:
        for one in read_item(reader.read, item, reader.conversion(case.options)):
            (read if isinstance(one, Sequence) else rejected).append(one)  # type: ignore[arg-type]
    return found, read, rejected


def same(first: list[Sequence], second: list[Sequence]) -> bool:
    """Whether two lists hold the same sequences, wherever they came from."""
    return len(first) == len(second) and all(
        np.array_equal(one.joints, other.joints)
        and all(getattr(one, fact) == getattr(other, fact) for fact in ("id", *FACTS))
        for one, other in zip(first, second, strict=True)
    )


def test_every_reader_has_a_case() -> None:
    assert {case.reader for case in CASES} == {
        part.name for part in parts("dataset") if part.module == "c2vl.skeletons.datasets.parts"
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_what_was_written_is_read(case: Case, tmp_path: Path, end: str) -> None:
    expected = {one.id: one for one in case.write(tmp_path, end)}
    found, read, rejected = read_all(case, tmp_path)
    assert not rejected
    assert sorted(one.id for one in read) == sorted(expected)
    for one in read:
        written = expected[one.id]
        there = written.joints.any(axis=(2, 3))
        shown = written.joints[there.any(axis=1)][:, there.any(axis=0)]
        assert np.array_equal(one.joints, shown.astype(np.float32)), one.id
        for fact in FACTS:
            unknown = {} if fact == "parts" else -1
            assert getattr(one, fact) == written.facts.get(fact, unknown), (one.id, fact)
        assert one.joints.dtype == np.float32 and one.joints.flags.c_contiguous
        assert one.joints.shape[2:] == (len(found.layout.joints), 3)
        assert one.label in range(len(found.class_names)) or (one.label, found.class_names) == (
            -1,
            (),
        )
        assert one.source and not Path(one.source).is_absolute()


def test_order_and_fingerprints_are_stable(case: Case, dataset: tuple[Path, list[Written]]) -> None:
    reader = get_reader(case.reader)
    first, second = (reader.discover(dataset[0], case.options) for _ in range(2))
    assert first == second
    prints = [item.fingerprint for item in first.items]
    assert prints == [item.fingerprint for item in second.items]
    assert len(set(prints)) == len(prints)
    changed = first.items[-1]
    later = changed.file.path.stat().st_mtime_ns + 10**9
    os.utime(changed.file.path, ns=(later, later))
    third = [item.fingerprint for item in reader.discover(dataset[0], case.options).items]
    assert third[-1] != prints[-1] and len(third) == len(prints)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_zip_reads_like_the_folder(
    case: Case, dataset: tuple[Path, list[Written]], tmp_path: Path, method: int
) -> None:
    folder, _ = dataset
    archive = tmp_path / "all of it.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, Path("top", path.relative_to(folder)))
    before = sorted(tmp_path.rglob("*"))
    _, read, rejected = read_all(case, archive)
    assert not rejected and same(read, read_all(case, folder)[1])
    assert same(read, read_all(case, tmp_path)[1])
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


READ = """
import pickle, sys
from c2vl.skeletons.datasets import get_reader, read_item
with open(sys.argv[1], "rb") as file:
    items = pickle.load(file)
read = [
    [one for item in mine for one in read_item(get_reader(name).read, item, conversion)]
    for name, mine, conversion in items
]
with open(sys.argv[2], "wb") as file:
    pickle.dump(read, file)
"""


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    items = []
    expected = []
    for number, case in enumerate(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        case.write(folder, "\n")
        found, read, _ = read_all(case, folder)
        conversion = get_reader(case.reader).conversion(case.options)
        items.append((case.reader, found.items, conversion))
        expected.append(read)
    (tmp_path / "items").write_bytes(pickle.dumps(items))
    subprocess.run([sys.executable, "-c", READ, tmp_path / "items", tmp_path / "read"], check=True)
    got = pickle.loads((tmp_path / "read").read_bytes())
    for mine, other in zip(expected, got, strict=True):
        assert same(mine, other)


def test_wrong_folders_are_refused(case: Case, tmp_path: Path) -> None:
    reader = get_reader(case.reader)
    with pytest.raises(UserError, match="no such folder"):
        reader.discover(tmp_path / "nothing", Options())
    with pytest.raises(UserError, match=str(tmp_path)):
        reader.discover(tmp_path, Options())
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=str(tmp_path)):
        reader.discover(tmp_path, Options())
    (tmp_path / "broken.zip").write_bytes(b"PK\x05\x06 and no more")
    with pytest.raises(UserError, match=r"broken\.zip"):
        reader.discover(tmp_path, Options())


@pytest.mark.parametrize("damage", ["emptied", "cut", "overwritten"])
def test_one_bad_file_leaves_the_others(case: Case, tmp_path: Path, damage: str) -> None:
    case.write(tmp_path, "\n")
    before, read, _ = read_all(case, tmp_path)
    bad = before.items[-1].file
    if all(item.file == bad for item in before.items):
        pytest.skip("everything is in one file")
    content = bad.path.read_bytes()
    half = len(content) // 2
    bad.path.write_bytes(
        {
            "emptied": b"",
            "cut": content[: half + 1],
            "overwritten": content[: half - 9] + b"\xff\x00 one " + content[half:],
        }[damage]
    )
    _, after, rejected = read_all(case, tmp_path)
    assert rejected and all(one.reason for one in rejected)
    assert all(one.file.startswith((bad.name, bad.name.replace("skel", "lab"))) for one in rejected)
    assert same([one for one in read if not one.source.startswith(bad.name)], after)
