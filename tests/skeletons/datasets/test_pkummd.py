from __future__ import annotations

import json
import re
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from c2vl.skeletons.datasets import Options, Rejected, get_reader, read_item
from c2vl.skeletons.datasets.pkummd import BACKGROUND, CLASS_NAMES
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from tests.skeletons.datasets.writers import pku_lines, put, two, write_pku2

CAPTIONS = Path(__file__).parents[4] / "shared/data/pkummd2_captions/pkuv2_language.zip"
READER = get_reader("pkummd2")


def write(folder: Path, labels: str | bytes, joints: np.ndarray | None = None) -> np.ndarray:
    if joints is None:
        joints = two(np.random.default_rng(0), 40, 25)
    put(folder / "skeleton" / "A01N02-M.txt", pku_lines(joints), "\n")
    (folder / "label").mkdir()
    content = labels if isinstance(labels, bytes) else labels.encode()
    (folder / "label" / "A01N02-M.txt").write_bytes(content)
    return joints


def read(
    folder: Path, options: Options | None = None
) -> tuple[dict[str, Sequence], list[Rejected]]:
    found = READER.discover(folder, options or Options())
    everything = [one for item in found.items for one in read_item(READER.read, item)]
    sequences = {one.id: one for one in everything if isinstance(one, Sequence)}
    rejected = [*found.rejected, *(one for one in everything if isinstance(one, Rejected))]
    return sequences, rejected


def test_rows_of_labels_are_taken_one_by_one(tmp_path: Path) -> None:
    rows = "5,0,10,2\n\n52,1,5,1\n6,10,10,1\n7,12,11,1\n8,x,11,1\n9,38,50,1\n"
    rows += "9,45,50,1\n1,2\n3,4.5,6,1\n"
    joints = write(tmp_path, rows)
    sequences, rejected = read(tmp_path)
    assert list(sequences) == ["A001N002V002C005L001", "A001N002V002C009L006"]
    clipped = sequences["A001N002V002C009L006"]
    assert (clipped.start, clipped.end, clipped.joints.shape[1]) == (38, 40, 2)
    assert clipped.decisions == {"ends clipped to the video": 1}
    assert np.array_equal(clipped.joints, joints[:, 38:40].astype(np.float32))
    assert {one.file for one in rejected} == {"label/A01N02-M.txt"}
    reasons = {one.line: one.reason for one in rejected}
    assert list(reasons) == [3, 4, 5, 6, 8, 9, 10]
    assert "outside 1..51" in reasons[3] and "no frame" in reasons[4] and "no frame" in reasons[5]
    assert '"x"' in reasons[6] and "40 frames" in reasons[8]
    assert "2 fields" in reasons[9] and "4.5" in reasons[10]


def test_a_bad_frame_costs_its_instance_alone(tmp_path: Path) -> None:
    joints = two(np.random.default_rng(0), 40, 25)
    joints[0, 15, 3, 1] = np.nan
    joints[:, 20:24] = 0
    joints[:, 30:40] = 0
    write(tmp_path, "5,0,10,2\n6,10,20,2\n7,18,26,2\n8,30,40,2\n", joints)
    sequences, rejected = read(tmp_path)
    assert [one.label for one in sequences.values()] == [4, 6]
    assert sequences["A001N002V002C007L003"].joints.shape[1] == 4
    assert sequences["A001N002V002C007L003"].decisions == {"empty frames dropped": 4}
    assert [(one.line, one.left_out) for one in rejected] == [(16, False), (31, True)]


@pytest.mark.parametrize(
    ("edit", "line", "message"),
    [
        (lambda lines: [*lines[:5], lines[5][:400], *lines[6:]], 6, "numbers in a line"),
        (lambda lines: [*lines[:5], lines[5].rpartition(" ")[0], *lines[6:]], 6, "149 numbers"),
        (lambda lines: [*lines[:3], lines[3].replace(" ", " x", 1), *lines[4:]], 4, "not a number"),
        (lambda lines: [*lines[:3], lines[3].replace(".", "_", 1), *lines[4:]], 4, "not a number"),
        (lambda lines: [*lines[:3], "", *lines[4:]], 4, "0 numbers"),
        (lambda lines: [" "], 1, "no frame"),
        (lambda lines: [*lines[:2], "\udcff" + lines[2]], 3, "not a number"),
    ],
)
def test_damaged_skeletons(tmp_path: Path, edit, line: int, message: str) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path, "5,0,10,2\n")
    path = tmp_path / "skeleton" / "A01N02-M.txt"
    lines = path.read_text().splitlines()
    path.write_bytes("\n".join(edit(lines)).encode(errors="surrogateescape"))
    sequences, rejected = read(tmp_path)
    assert not sequences and len(rejected) == 1
    assert message in rejected[0].reason and rejected[0].line == line


@pytest.mark.parametrize(
    ("labels", "message"),
    [("", "no instance"), (b"5,0,1\xff,2\n", "not UTF-8"), (b"5,0,9,1\n" * 140_000, "larger than")],
)
def test_damaged_labels(tmp_path: Path, labels: str | bytes, message: str) -> None:
    write(tmp_path, labels)
    sequences, rejected = read(tmp_path)
    assert not sequences and message in rejected[0].reason
    assert rejected[0].file == "label/A01N02-M.txt"


def test_files_without_their_other_half(tmp_path: Path) -> None:
    write_pku2(tmp_path, "\n")
    (tmp_path / "label" / "A01N01-L.txt").unlink()
    (tmp_path / "skeleton" / "A26N13-M.txt").unlink()
    copy = tmp_path / "again" / "A01N01-R.txt"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "skeleton" / "A01N01-R.txt").read_bytes())
    sequences, rejected = read(tmp_path)
    assert {name[:12] for name in sequences} == {"A001N001V003"}
    assert sorted((one.file, one.reason.partition(":")[0]) for one in rejected) == [
        ("label/A26N13-M.txt", "no skeleton file of this video"),
        ("skeleton/A01N01-L.txt", "no label file of this video"),
        ("skeleton/A01N01-R.txt", "another skeleton file of this video"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A01N01-L, A01N01-R", "line 1: video names before a heading"),
        ("Training videos:\nA01N01-L\nOther videos:\nA01N01-R", "line 3.*neither"),
        ("Training videos:\nA01N01-L\nValidation videos:\nA01N01-L", "line 4: A01N01-L is in both"),
        (b"Training videos\n\xff", "line 2: not UTF-8"),
    ],
)
def test_damaged_split_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    write_pku2(tmp_path, "\n")
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "cross_subject_v2.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"cross_subject_v2\.txt.*{message}"):
        READER.discover(tmp_path, Options())


def test_windows_cover_the_video(tmp_path: Path) -> None:
    joints = write(tmp_path, "5,0,10,2\n6,13,30,2\n")
    sequences, rejected = read(tmp_path, Options(window=12, stride=9))
    assert not rejected
    places = [(one.start, one.end, one.label) for one in sequences.values()]
    assert places == [
        (0, 12, 4),
        (9, 21, 5),
        (18, 30, 5),
        (27, 39, BACKGROUND),
        (28, 40, BACKGROUND),
    ]
    assert next(iter(sequences)) == "A001N002V002W00001"
    for one in sequences.values():
        shown = joints[:, one.start : one.end]
        shown = shown[shown.any(axis=(1, 2, 3))]
        assert np.array_equal(one.joints, shown.astype(np.float32))
    found = READER.discover(tmp_path, Options(window=12))
    assert found.class_names == (*CLASS_NAMES, "background")
    whole, _ = read(tmp_path, Options(window=100))
    assert [(one.start, one.end, one.label) for one in whole.values()] == [(0, 40, BACKGROUND)]
    for options in (Options(stride=3), Options(window=0), Options(window=5, stride=0)):
        with pytest.raises(UserError, match=r"--(stride|window)"):
            READER.discover(tmp_path, options)


def test_ids_are_those_of_the_published_captions() -> None:
    """Every id is one that a label file can give: rows count 1, 2, … whatever their class."""
    if not CAPTIONS.is_file():
        pytest.skip(f"no captions at {CAPTIONS}")
    with zipfile.ZipFile(CAPTIONS) as archive:
        ids = json.loads(archive.read("pkuv2_language.json"))
    videos = defaultdict(list)
    for name in ids:
        match = re.fullmatch(r"(A\d{3}N\d{3}V00[123])C0(\d\d)L(\d{3})", name)
        assert match is not None and 1 <= int(match[2]) <= len(CLASS_NAMES)
        videos[match[1]].append(int(match[3]))
    assert len(videos) == 1009
    assert all(sorted(rows) == list(range(1, len(rows) + 1)) for rows in videos.values())
