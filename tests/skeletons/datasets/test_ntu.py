from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.skeletons.datasets import (
    Options,
    Rejected,
    RejectedError,
    get_reader,
    read_item,
)
from c2vl.skeletons.demo.ntu_files import TrackedBody, skeleton_text
from c2vl.skeletons.formats.kinect_tracks import Track, two_persons
from c2vl.skeletons.formats.ntu_text import parse
from c2vl.skeletons.preparing.prepare import prepare
from c2vl.skeletons.sequence import Sequence
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.skeletons.formats.test_number_rows import tracks

NAME = "S001C001P001R001A001.skeleton"
NTU60 = get_reader("ntu60")


def read(path: Path) -> Sequence | Rejected:
    """Read one file as the preparation does."""
    item = next(i for i in NTU60.discover(path.parent, Options()).items if i.file.base == path.name)
    (only,) = read_item(NTU60.read, item)
    return only


def simple_read(path: Path) -> list[dict[str, list[list[float]]]]:
    """Read a file line by line, in the plainest way: body id → joints, for each frame."""
    lines = iter(path.read_text().splitlines())
    frames = []
    for _ in range(int(next(lines))):
        frame = {}
        for _ in range(int(next(lines))):
            body = next(lines).split()[0]
            count = int(next(lines))
            rows = [next(lines).split() for _ in range(count)]
            assert all(len(row) == 12 for row in rows)
            frame[body] = [[float(value) for value in row[:3]] for row in rows]
        frames.append(frame)
    assert next(lines, None) is None
    return frames


def person(frames: int, *, seed: int = 0, at: tuple[float, float, float] = (0, 0, 3)) -> np.ndarray:
    """Joints of something upright that moves."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(-1, 1, (25, 3)) * [0.25, 0.9, 0.15]
    return shape + np.array(at) + np.cumsum(rng.normal(0, 0.01, (frames, 25, 3)), axis=0)


def test_generated_files_read_back(demo_store: Store, demo_raw: Path) -> None:
    line_ends = set()
    for path in sorted(demo_raw.iterdir())[::5]:
        line_ends.add(b"\r\n" in path.read_bytes())
        plain = simple_read(path)
        tracks = parse(path.read_bytes())
        total = sum(len(frame) for frame in plain)
        assert sum(len(track.frames) for track in tracks) == total
        seen = [
            (frame, tuple(np.float32(body).ravel()))
            for frame, bodies in enumerate(plain)
            for body in bodies.values()
        ]
        mine = [
            (int(frame), tuple(joints.ravel()))
            for track in tracks
            for frame, joints in zip(track.frames, track.joints, strict=True)
        ]
        assert sorted(seen) == sorted(mine)
    assert line_ends == {True, False}


def test_line_ends_do_not_matter() -> None:
    body = TrackedBody(72057594037931101, np.arange(30), person(30))
    unix, windows = (parse(skeleton_text([body], end).encode()) for end in ("\n", "\r\n"))
    assert np.array_equal(unix[0].joints, windows[0].joints)
    np.testing.assert_allclose(unix[0].joints, body.joints, atol=1e-6)


def test_close_body_ids_stay_apart() -> None:
    """The ids exceed 2**53: as floating-point numbers these two would be one."""
    ids = (72057594037931101, 72057594037931102)
    bodies = [TrackedBody(number, np.arange(20), person(20, seed=number % 7)) for number in ids]
    assert len(parse(skeleton_text(bodies).encode())) == 2


def test_absent_bodies_are_zero_and_empty_frames_go(tmp_path: Path) -> None:
    first = TrackedBody(1, np.arange(5, 40), person(35, seed=1, at=(-0.5, 0, 3)))
    second = TrackedBody(2, np.arange(20, 50), person(30, seed=2, at=(0.9, 0, 3)))
    (tmp_path / NAME).write_text(skeleton_text([first, second]))
    joints = read(tmp_path / NAME).joints
    assert joints.shape == (2, 45, 25, 3) and joints.dtype == np.float32
    there = joints.any(axis=(2, 3))
    assert there.any(axis=0).all()
    assert sorted(there.sum(axis=1)) == [30, 35]


def test_a_person_under_two_ids_is_one() -> None:
    whole = person(60, seed=3).astype(np.float32)
    tracks = [Track(np.arange(30), whole[:30]), Track(np.arange(33, 60), whole[33:])]
    joints, decisions = two_persons(tracks)
    assert decisions == {"tracks joined": 1, "empty frames dropped": 3}
    assert joints.shape[:2] == (1, 57)
    assert np.array_equal(joints[0], np.delete(whole, [30, 31, 32], axis=0))


def test_flicker_furniture_and_third_persons_go() -> None:
    moving = [Track(np.arange(40), person(40, seed=s, at=(s, 0, 3))) for s in (1, 2)]
    still = Track(np.arange(40), np.tile(person(1, seed=5, at=(3, 0, 3)), (40, 1, 1)))
    flicker = Track(np.arange(4), person(4, seed=6, at=(-2, 0, 3)))
    table = Track(np.arange(40), person(40, seed=7)[..., [1, 0, 2]] * 3)
    joints, decisions = two_persons(
        [Track(t.frames, np.float32(t.joints)) for t in (flicker, still, table, *moving)]
    )
    assert joints.shape[:2] == (2, 40)
    assert decisions == {"flickers dropped": 1, "furniture dropped": 1, "third persons dropped": 1}
    for track in moving:
        assert any(np.array_equal(np.float32(track.joints), body) for body in joints)


def _good() -> list[list[str]]:
    return [
        line.split()
        for line in skeleton_text([TrackedBody(7, np.arange(3), person(3))]).split("\n")
    ]


@pytest.mark.parametrize(
    ("line", "field", "token", "message", "at"),
    [
        (1, 0, "999999999", "number of frames", 1),
        (1, 0, "-1", "number of frames", 1),
        (1, 0, "2", "lines follow the last frame", 58),
        (1, 0, "4", "ends before frame 4: the number of bodies", 86),
        (2, 0, "4000000000000", "number of bodies", 2),
        (2, 0, "2", "a body: 1 fields in a line, expected 10", 30),
        (3, 0, "x7", "no body id", 3),
        (4, 0, "20", "20 joints, expected 25", 4),
        (5, 0, "nan", "not finite", None),
        (5, 0, "1e30", "over a million", None),
        (6, 1, "x", "not a number", 6),
        (7, 1, "0.1 0.2", "13 fields in a line, expected 12", 7),
    ],
)
def test_damage_is_named(line: int, field: int, token: str, message: str, at: int | None) -> None:
    lines = _good()
    lines[line - 1][field] = token
    with pytest.raises(RejectedError, match=message) as caught:
        parse("\n".join(map(" ".join, lines)).encode())
    assert caught.value.line == at


def agree(text: bytes) -> None:
    """Fast and careful reading give the same tracks or the same reason."""
    assert tracks(text, fast=True) == tracks(text, fast=False)


@pytest.mark.parametrize("field", range(12))
@pytest.mark.parametrize("blanks", [" ", "  "])
def test_a_lost_field_is_told(field: int, blanks: str) -> None:
    """Also where the blanks around it stay, and it is none of the coordinates."""
    lines = _good()
    lines[5][field] = ""
    text = "\n".join(map(" ".join, lines)).replace("  ", blanks).encode()
    agree(text)
    with pytest.raises(RejectedError, match="11 fields in a line, expected 12"):
        parse(text)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_alike_or_rejected(data: st.DataObject) -> None:
    text = "\n".join(map(" ".join, _good())).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    agree(text[:start] + data.draw(st.binary(max_size=12)) + text[end:])


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text("0123456789 \r\n.-", max_size=200)))
def test_anything_is_read_alike_or_rejected(text: bytes | str) -> None:
    agree(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("name", "text", "message", "left_out"),
    [
        ("S1C1.skeleton", "0", "the name", False),
        ("S001C001P001R001A061.skeleton", "0", r"outside 1..60", False),
        (NAME, "2\n0\n0\n", "no frame has a body", True),
        (NAME, "", "ends before the number of frames", False),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, text: str, message: str, left_out: bool) -> None:
    (tmp_path / name).write_text(text)
    unusable = read(tmp_path / name)
    assert isinstance(unusable, Rejected) and unusable.left_out is left_out
    assert message in unusable.reason


def test_missing_skeletons_are_left_out_by_list_and_by_detection(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(1, 5):
        body = TrackedBody(1, np.arange(20), person(20, seed=number))
        (raw / f"S001C001P00{number}R001A001.skeleton").write_text(skeleton_text([body]))
    (raw / "S001C001P004R001A001.skeleton").write_text("1\n0\n")
    (tmp_path / "missing.txt").write_text("Missing:\r\nS001C001P002R001A001\r\n")
    store = prepare("ntu60", raw, tmp_path / "all", options=Options(up="y")).store
    assert list(store.index["subject"]) == [1, 2, 3]
    prepared = prepare(
        "ntu60", raw, tmp_path / "out", options=Options(missing=tmp_path / "missing.txt", up="y")
    )
    assert list(prepared.store.index["subject"]) == [1, 3]
    assert prepared.store.manifest["counts"]["left_out"] == 2 and not prepared.unusable
    (tmp_path / "missing.txt").rename(raw / "NTU_RGBD_samples_with_missing_skeletons.txt")
    assert len(prepare("ntu60", raw, tmp_path / "beside", options=Options(up="y")).store) == 2
    (tmp_path / "empty.txt").write_text("nothing")
    with pytest.raises(UserError, match="no line is a sample name"):
        prepare("ntu60", raw, tmp_path / "x", options=Options(missing=tmp_path / "empty.txt"))


def test_archives_are_read_where_they_lie(demo_raw: Path, tmp_path: Path) -> None:
    """The official archives hold a folder; the store is the same as from the files."""
    (tmp_path / "zips").mkdir()
    files = sorted(demo_raw.iterdir())[:12]
    (tmp_path / "files").mkdir()
    for part, chosen in enumerate((files[:7], files[7:])):
        with zipfile.ZipFile(
            tmp_path / "zips" / f"skeletons_{part}.zip", "w", zipfile.ZIP_DEFLATED
        ) as z:
            for path in chosen:
                z.write(path, f"nturgb+d_skeletons/{path.name}")
    for path in files:
        (tmp_path / "files" / path.name).write_bytes(path.read_bytes())
    from_zips = prepare("demo", tmp_path / "zips", tmp_path / "a").store
    assert from_zips.digest == prepare("demo", tmp_path / "files", tmp_path / "b").store.digest
    assert from_zips.index["source"].iloc[0].startswith("skeletons_0.zip/nturgb+d_skeletons/S")


def test_registry() -> None:
    with pytest.raises(UserError, match='did you mean "ntu60"'):
        get_reader("ntu6")
