from __future__ import annotations

import os
import pickle
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from c2vl.skeletons.formats import restricted_pickle
from c2vl.skeletons.formats.pickle_file import Pickle
from c2vl.skeletons.formats.stored_values import LATIN1, TEXT, Blob, StoredArray
from c2vl.skeletons.rejected import RejectedError

RNG = np.random.default_rng(0)
CONTENT: dict[str, Any] = {
    "floats": RNG.normal(size=(2, 3, 4)).astype(np.float32),
    "halves": RNG.normal(size=(40, 30)).astype(np.float16),
    "big endian": np.arange(5, dtype=">f8"),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 4))),
    "strided": np.arange(20)[::2],
    "empty": np.zeros((0, 3)),
    "bools": np.array([True, False]),
    "bytes": np.arange(256, dtype=np.uint8),
    "scalar": np.float64(0.1),
    "whole": np.int32(-7),
    "words": np.array(["S001", "ü"]),
    "raw words": np.array([b"ab", b"c"]),
    "names": ["S001C001.skeleton", "", "ü", "x" * 300],
    "numbers": [0, 255, 256, 65536, -1, 1 << 40, -(1 << 40), 1 << 100, 0.5, True, False, None],
    "nested": ([], (), {}, ((), ((1, 2), (3,)), [[1]])),
    "ordered": OrderedDict(a=1, b=(2, "c")),
    "sets": [{1}, frozenset({2}), set()],
    "raw": [b"", b"\x00\xff" * 3],
}
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
DTYPE = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
MORE = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
CONTENT["again"] = CONTENT["floats"]


def plain(read: Pickle, value: Any) -> Any:
    """Turn what was read into what was written."""
    if isinstance(value, Blob):
        content = bytes(read._data[value.start : value.start + value.length])
        if value.kind == TEXT:
            return content.decode()
        return content.decode().encode("latin-1") if value.kind == LATIN1 else content
    if isinstance(value, StoredArray):
        return read.array(value)
    if isinstance(value, dict):
        return {key: plain(read, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(read, each) for each in value)
    return value


def assert_equal(written: Any, got: Any) -> None:
    if isinstance(written, np.ndarray | np.generic):
        assert got.dtype == written.dtype and np.array_equal(got, written)
    elif isinstance(written, dict):
        assert list(written) == list(got)
        for key in written:
            assert_equal(written[key], got[key])
    elif isinstance(written, list | tuple):
        assert type(written) is type(got) and len(written) == len(got)
        for one, other in zip(written, got, strict=True):
            assert_equal(one, other)
    elif isinstance(written, set | frozenset):
        assert sorted(written) == sorted(got)
    else:
        assert written == got and type(written) is type(got)


@pytest.mark.parametrize("numpy", [1, 2])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pickle_writes_is_read(protocol: int, numpy: int) -> None:
    text = pickle.dumps(CONTENT, protocol)
    if numpy == 1:  # whose names have no underscore
        assert b"numpy._core." in text
        for module in (b"multiarray", b"numeric"):
            new, old = b"numpy._core." + module, b"numpy.core." + module
            text = text.replace(bytes([0x8C, len(new)]) + new, bytes([0x8C, len(old)]) + old)
            text = text.replace(b"c" + new, b"c" + old)
        assert b"numpy._core." not in text
    read = Pickle(memoryview(text))
    assert_equal(CONTENT, plain(read, read.root))
    assert read.texts(read.root["words"]) == ["S001", "ü"]
    assert read.texts(read.root["raw words"]) == ["ab", "c"]
    assert read.texts(read.root["names"]) == CONTENT["names"]


def test_strings_of_python_2() -> None:
    dtype = DTYPE + b"(K\x03U\x01<NNN" + MORE
    state = b"(K\x01K\x02\x85" + dtype + b"\x89U\x08" + struct.pack("<2f", 1.5, -2) + b"tb"
    text = b"\x80\x02}(U\x05namesq\x01](U\x02abU\x01ceU\x01x" + ARRAY + state + b"u."
    assert np.array_equal(pickle.loads(text, encoding="bytes")[b"x"], [1.5, -2]), "it is one"
    read = Pickle(memoryview(text))
    assert read.texts(read.root["names"]) == ["ab", "c"]
    assert np.array_equal(read.array(read.root["x"]), [1.5, -2])


class Runs:
    """Unpickled by Python, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_runs(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "made"
    text = pickle.dumps({"split": {}, "annotations": [Runs(path)]}, protocol)
    with pytest.raises(RejectedError, match=r"asks for (posix|nt)\.mkdir"):
        Pickle(memoryview(text))
    assert not path.exists()
    pickle.loads(text)
    assert path.exists(), "the file was one that runs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"cbuiltins\neval\nU\x011\x85R.", "asks for builtins.eval"),
        (b"cbuiltins\ngetattr\n.", "asks for builtins.getattr"),
        (b"cnumpy\nload\n.", "asks for numpy.load"),
        (b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.", "asks for"),
        (b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", "asks for os.system"),
        (b"Ppersistent\n.", "0x50"),
        (b"NQ.", "0x51"),
        (b"\x82\x01.", "0x82"),
        (b"(ios\nsystem\n.", "0x69"),
        (b"(cnumpy\ndtype\no.", "0x6f"),
        (b"cnumpy\ndtype\n)\x81.", "0x81"),
        (b"cnumpy\ndtype\n)}\x92.", "0x92"),
        (b"\x97.", "0x97"),
        (b"}}b.", "damaged"),
        (b"cnumpy\ndtype\n}b.", "damaged"),
        (b"cnumpy\nndarray\n)R.", "damaged"),
        (b"]cnumpy\nndarray\n\x85R.", "damaged"),
        (b"}K\x01K\x02s.", "a key is no text"),
        (b"}(](K\x01u.", "damaged"),
        (b"}(U\x01au.", "damaged"),
        (b"\x8e" + b"\xff" * 8 + b".", "past the end"),
        (b"X\xff\xff\xff\x7fabc.", "past the end"),
        (b"\x8b\xff\xff\xff\x7f.", "0x8b"),
        (b"\x8b\x11\x00\x00\x00" + bytes(17) + b".", "0x8b"),
        (b"h\x07.", "damaged"),
        (b"(q\x01.", "damaged"),
        (b"(.", "damaged"),
        (b"e.", "damaged"),
        (b"t.", "damaged"),
        (b"0.", "damaged"),
        (b"NN.", "damaged"),
        (b"K", "damaged"),
        (b"G\x00.", "damaged"),
        (b"cnumpy\ndtype", "damaged"),
        (ARRAY + ARRAY + b"b.", "damaged"),
        (ARRAY + b"(K\x01K\x02\x85" + DTYPE + b"\x89](K\x01etb.", "plain numbers"),
        (b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.", "no plain numbers"),
        (b"cnumpy\ndtype\n(U\x02V8K\x00K\x01tR.", "no plain numbers"),
        (b"cnumpy\ndtype\n(U\x02U0K\x00K\x01tR.", "no plain numbers"),
        (DTYPE + b"(K\x03U\x01<N}N" + MORE + b".", "no plain number"),
        (DTYPE + b"(K\x03U\x01<(U\x01atNN" + MORE + b".", "no plain number"),
        (ARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"\x89U\x04abcdtb.", "has 4 bytes"),
        (ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89U\x04abcdtb.", "impossible shape"),
        (ARRAY + b"(K\x01\x88\x85" + DTYPE + b"\x89U\x04abcdtb.", "impossible shape"),
        (ARRAY + b"(K\x01K\x01\x85" + DTYPE + b"\x89U\x04abcdtb(K\x01K\x01\x85tb.", "damaged"),
    ],
)
def test_all_else_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(RejectedError, match=message):
        Pickle(memoryview(b"\x80\x02" + text))


@pytest.mark.parametrize("text", [b"", b"\x80", b"\x80\x01N.", b"\x80\x06N.", b"N.", b"(dp0\n."])
def test_other_protocols_are_refused(text: bytes) -> None:
    with pytest.raises(RejectedError):
        Pickle(memoryview(text))


def test_arrays_that_are_cut_short_in_protocol_2() -> None:
    """Bytes are text there: only decoding shows how many they are."""
    text = pickle.dumps(np.array([200, 7], dtype=np.uint8), 2)
    read = Pickle(memoryview(text))
    assert read.array(read.root).tolist() == [200, 7]
    shorter = text.replace("È\x07".encode(), b"abc")
    read = Pickle(memoryview(shorter))
    with pytest.raises(RejectedError, match="has 3 bytes"):
        read.array(read.root)


def test_bombs_take_neither_time_nor_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.process_time()
    huge_memo = b"\x80\x02Nr\xff\xff\xff\xffr\xfe\xff\xff\xff."
    assert Pickle(memoryview(huge_memo)).root is None
    laughs = (
        b"\x80\x02Nq\x000" + b"h\x00h\x00\x86q\x000" * 5000 + b"h\x00."
    )  # 2 to the 5000th leaves
    assert type(Pickle(memoryview(laughs)).root) is tuple
    with pytest.raises(RejectedError, match="no text"):
        Pickle(memoryview(b"\x80\x02}" + laughs[2:-1] + b"Ns."))
    deep = b"\x80\x02N" + b"\x85" * 100_000 + b"."
    assert type(Pickle(memoryview(deep)).root) is tuple
    within = b"\x80\x02]q\x00h\x00a."
    root = Pickle(memoryview(within)).root
    assert root[0] is root
    keys = b"\x80\x02U\xffq\x00".replace(b"U\xff", b"T\x00\x10\x00\x00" + b"k" * 4096)
    keys += b"0](" + b"}h\x00Ns" * 20_000 + b"e."
    names = {id(name) for one in Pickle(memoryview(keys)).root for name in one}
    assert len(names) == 1, "a key that is used again is not copied"
    copies = (
        b"\x80\x02]("
        + b"N" * 50_000
        + b"eq\x000]("
        + (b"cbuiltins\nset\nh\x00\x85R" * 20_000 + b"e.")
    )
    assert len(Pickle(memoryview(copies)).root) == 20_000
    assert time.process_time() - start < 10
    monkeypatch.setattr(restricted_pickle, "_MOST_STEPS", 1000)
    with pytest.raises(RejectedError, match="too many parts"):
        Pickle(memoryview(b"\x80\x02" + b"]" * 2000 + b"."))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b"(cnumpy\ndtype\n")
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        Pickle(memoryview(b"\x80\x02" + text))
    except RejectedError as error:
        assert str(error)
