from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from c2vl.skeletons.datasets import Options, RejectedError, get_reader
from c2vl.skeletons.formats.matlab import read_array
from c2vl.skeletons.sequence import Sequence

JOINTS = np.random.default_rng(0).normal(size=(20, 3, 7))


def mat(packed: bool = False, **variables: object) -> bytes:
    out = io.BytesIO()
    savemat(out, variables, do_compression=packed)
    return out.getvalue()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_arrays_are_those_of_scipy(packed: bool, dtype: str) -> None:
    array = (JOINTS * 50).astype(dtype)
    others = {"text": "abc", "cell": np.array([1, "a"], dtype=object), "small": np.ones((1, 1))}
    content = mat(packed, **others, d_skel=array)
    read = read_array(content, "d_skel", 1 << 20)
    assert np.array_equal(read, loadmat(io.BytesIO(content))["d_skel"])
    assert np.array_equal(read_array(content, "small", 1 << 20), [[1]])


def test_numbers_that_matlab_stores_smaller_and_the_other_byte_order() -> None:
    """MATLAB writes whole numbers of a double array as the smallest integers that hold them."""
    body = struct.pack(">4I", 6, 8, 6, 0) + struct.pack(">2I2i", 5, 8, 2, 2)
    body += struct.pack(">I4s", 1 << 16 | 1, b"x\0\0\0")
    body += struct.pack(">I4b", 4 << 16 | 1, 1, 2, -3, 4)
    content = bytes(124) + b"\x01\x00MI" + struct.pack(">2I", 14, len(body)) + body
    assert read_array(content, "x", 100).tolist() == [[1, -3], [2, 4]]


def test_the_real_files(utd: Path) -> None:
    for path in sorted(utd.rglob("a*_s1_t1_skeleton.mat")):
        expected = loadmat(path)["d_skel"]
        assert np.array_equal(read_array(path.read_bytes(), "d_skel", 1 << 20), expected)


def element(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<2I", kind, len(content) if length is None else length) + content


HEADER = bytes(124) + b"\x00\x01IM"
FLAGS = element(6, struct.pack("<2I", 6, 0))
AXES = element(5, struct.pack("<2i", 1, 2))
NAME = element(1, b"x" + bytes(7), 1)
BOMB = zlib.compress(bytes(10 << 20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a MATLAB file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(300), "version 7.3 .* option -v7"),
        (b"MATLAB 7.3 MAT-file".ljust(126) + b"IM" + bytes(384), "version 7.3 .* option -v7"),
        (HEADER, "no variable x"),
        (HEADER + element(15, BOMB), "larger than"),
        (HEADER + element(15, BOMB[:500]), "ends early"),
        (HEADER + element(15, b"no zlib"), "damaged"),
        (HEADER + element(14, FLAGS, 1 << 31), "ends"),
        (HEADER + element(14, FLAGS), "without its dimensions"),
        (HEADER + element(14, FLAGS + AXES + NAME), "no array of real"),
        (HEADER + element(14, FLAGS + AXES + NAME + element(9, bytes(8))), "of 8 bytes"),
        (HEADER + element(14, FLAGS + AXES + NAME + element(16, bytes(16))), "damaged: x"),
        (HEADER + element(14, FLAGS + AXES + NAME + element(9, bytes(9), 1 << 20)), "ends"),
        (HEADER + element(14, struct.pack("<2I", 9 << 16 | 6, 0)), "over four bytes"),
        (mat(x="text"), "no array of real"),
        (mat(x=np.array([1j, 2])), "no array of real"),
        (mat(x={"a": 1}), "no array of real"),
        (mat(x=np.array([1, "a"], dtype=object)), "no array of real"),
    ],
)
def test_damage_is_named(content: bytes, message: str) -> None:
    with pytest.raises(RejectedError, match=message):
        read_array(content, "x", 1 << 20)


def test_frames_that_show_nobody_are_dropped(tmp_path: Path) -> None:
    joints = JOINTS.copy()
    joints[:, :, [2, 6]] = 0
    (tmp_path / "a1_s1_t1_skeleton.mat").write_bytes(mat(d_skel=joints))
    reader = get_reader("utd-mhad")
    (item,) = reader.discover(tmp_path, Options()).items
    (one,) = reader.read(item)
    assert isinstance(one, Sequence) and one.decisions == {"empty frames dropped": 2}
    expected = joints.transpose(2, 0, 1)[[0, 1, 3, 4, 5]].astype(np.float32)
    assert np.array_equal(one.joints[0], expected)
