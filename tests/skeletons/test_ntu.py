from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.errors import UserError
from c2vl.skeletons.ntu_files import Seen, skeleton_text
from c2vl.skeletons.readers import READERS, RejectedError, get_reader
from c2vl.skeletons.readers.ntu import parse, read
from c2vl.skeletons.store import Store
from c2vl.skeletons.tracks import Track, two_bodies

NAME = "S001C001P001R001A001.skeleton"


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
    body = Seen(72057594037931101, np.arange(30), person(30))
    unix, windows = (parse(skeleton_text([body], end).encode()) for end in ("\n", "\r\n"))
    assert np.array_equal(unix[0].joints, windows[0].joints)
    np.testing.assert_allclose(unix[0].joints, body.joints, atol=1e-6)


def test_close_body_ids_stay_apart() -> None:
    """The ids exceed 2**53: as floating-point numbers these two would be one."""
    ids = (72057594037931101, 72057594037931102)
    bodies = [Seen(number, np.arange(20), person(20, seed=number % 7)) for number in ids]
    assert len(parse(skeleton_text(bodies).encode())) == 2


def test_absent_bodies_are_zero_and_empty_frames_go(tmp_path: Path) -> None:
    first = Seen(1, np.arange(5, 40), person(35, seed=1, at=(-0.5, 0, 3)))
    second = Seen(2, np.arange(20, 50), person(30, seed=2, at=(0.9, 0, 3)))
    (tmp_path / NAME).write_text(skeleton_text([first, second]))
    joints = read(tmp_path / NAME, 60).joints
    assert joints.shape == (2, 45, 25, 3) and joints.dtype == np.float32
    there = joints.any(axis=(2, 3))
    assert there.any(axis=0).all()
    assert sorted(there.sum(axis=1)) == [30, 35]


def test_a_person_under_two_ids_is_one() -> None:
    whole = person(60, seed=3).astype(np.float32)
    tracks = [Track(np.arange(30), whole[:30]), Track(np.arange(33, 60), whole[33:])]
    joints = two_bodies(tracks)
    assert joints.shape[:2] == (1, 57)
    assert np.array_equal(joints[0], np.delete(whole, [30, 31, 32], axis=0))


def test_flicker_furniture_and_third_persons_go() -> None:
    moving = [Track(np.arange(40), person(40, seed=s, at=(s, 0, 3))) for s in (1, 2)]
    still = Track(np.arange(40), np.tile(person(1, seed=5, at=(3, 0, 3)), (40, 1, 1)))
    flicker = Track(np.arange(4), person(4, seed=6, at=(-2, 0, 3)))
    table = Track(np.arange(40), person(40, seed=7)[..., [1, 0, 2]] * 3)
    joints = two_bodies(
        [Track(t.frames, np.float32(t.joints)) for t in (flicker, still, table, *moving)]
    )
    assert joints.shape[:2] == (2, 40)
    for track in moving:
        assert any(np.array_equal(np.float32(track.joints), body) for body in joints)


def _good() -> list[str]:
    return skeleton_text([Seen(7, np.arange(3), person(3))]).split()


@pytest.mark.parametrize(
    ("at", "token", "message"),
    [
        (0, "999999999", "number of frames"),
        (0, "-1", "number of frames"),
        (0, "2", "fields follow"),
        (1, "4000000000000", "number of bodies"),
        (1, "2", "joints, expected 25"),
        (12, "20", "20 joints"),
        (13, "nan", "not finite"),
        (13, "1e30", "not finite"),
        (14, "x", "not a number"),
    ],
)
def test_damage_is_named(at: int, token: str, message: str) -> None:
    tokens = _good()
    tokens[at] = token
    with pytest.raises(RejectedError, match=message):
        parse(" ".join(tokens).encode())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_rejected(data: st.DataObject) -> None:
    text = " ".join(_good()).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    text = text[:start] + data.draw(st.binary(max_size=12)) + text[end:]
    try:
        tracks = parse(text)
    except RejectedError as error:
        assert str(error)
    else:
        assert all(np.isfinite(track.joints).all() for track in tracks)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text("0123456789 \r\n.-", max_size=200)))
def test_anything_is_read_or_rejected(text: bytes | str) -> None:
    try:
        parse(text if isinstance(text, bytes) else text.encode())
    except RejectedError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("S1C1.skeleton", "0", "the name"),
        ("S001C001P001R001A061.skeleton", "0", "outside 1..60"),
        (NAME, "2\n0\n0\n", "no frame has a body"),
        (NAME, "", "ends before the number of frames"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RejectedError, match=message):
        get_reader("ntu60").read(tmp_path / name)


def test_registry(tmp_path: Path) -> None:
    assert set(READERS) == {"utd-mhad", "ntu60", "ntu120", "demo"}
    assert [len(READERS[name].class_names) for name in ("ntu60", "ntu120")] == [60, 120]
    assert len(set(READERS["ntu120"].class_names)) == 120
    with pytest.raises(UserError, match='did you mean "ntu60"'):
        get_reader("ntu6")
    for reader in READERS.values():
        with pytest.raises(UserError, match="no such folder"):
            reader.discover(tmp_path / "nothing")
        with pytest.raises(UserError, match="no file is named like"):
            reader.discover(tmp_path)
