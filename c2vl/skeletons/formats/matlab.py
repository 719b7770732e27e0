"""Reads one numeric array from a MATLAB file of version 5 to 7.2, with every length checked.

SciPy reads these files too, and everything else that can be in them, but a damaged one can end the
process (a segmentation fault in SciPy 1.17, found by fuzzing). The format is MathWorks' "MAT-File
Format", chapter 1: a header of 128 bytes, then elements of a type, a number of bytes, and these,
padded to eight; an array is an element of elements (flags, dimensions, name, numbers), often
deflated.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.rejected import RejectedError

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_NUMERIC = range(6, 16)  # classes of arrays: double, single, and integers
_COMPLEX = 0x0800
_HEADER = 128
_MOST_AXES = 8


class _Element(NamedTuple):
    kind: int
    content: memoryview


def read_array(content: bytes, name: str, limit: int) -> NDArray[np.generic]:
    """Return the numeric array of a variable.

    Args:
        limit: most bytes that a variable can have.
    """
    for order, matrix in _matrices(content, limit):
        if _name(matrix) == name.encode():
            return _array(matrix, name, order)
    raise RejectedError(f"no variable {name}")


def variables(content: bytes, limit: int) -> list[str]:
    """Return the names of the variables, of whatever kind."""
    return [_name(matrix).decode("latin-1") for _, matrix in _matrices(content, limit)]


def _matrices(content: bytes, limit: int) -> Iterator[tuple[str, list[_Element]]]:
    """Yield the byte order and the flags, dimensions, name and numbers of each variable."""
    if content.startswith((b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3")):
        raise RejectedError(
            "a MATLAB file of version 7.3 (HDF5), and 5 to 7.2 are read: save it again in MATLAB "
            "with the option -v7"
        )
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is None:
        raise RejectedError("not a MATLAB file of version 5 to 7.2")
    for element in _elements(memoryview(content)[_HEADER:], order):
        if element.kind == _COMPRESSED:
            element = next(_elements(_inflated(element.content, limit), order), element)
        if element.kind == _MATRIX:
            yield order, list(itertools.islice(_elements(element.content, order), 4))


def _name(matrix: list[_Element]) -> bytes:
    if len(matrix) < 3 or matrix[2].kind != _INT8:
        raise RejectedError("damaged: an array without its dimensions or name")
    return bytes(matrix[2].content)


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    at = 0
    while len(data) - at >= 8:
        kind, length = struct.unpack_from(order + "2I", data, at)
        if kind >> 16:  # up to four bytes stand in the place of the length
            kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
            after = at + 8
            if length > 4:
                raise RejectedError("damaged: a small element of over four bytes")
        else:
            start = at + 8
            after = start + length + (-length % 8 if kind != _COMPRESSED else 0)
        if length > len(data) - start:
            raise RejectedError(f"damaged: it ends {start + length - len(data)} bytes early")
        yield _Element(kind, data[start : start + length])
        at = after


def _inflated(packed: memoryview, limit: int) -> memoryview:
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(packed, limit)
    except zlib.error as error:
        raise RejectedError(f"damaged: {error}") from None
    if inflate.unconsumed_tail:
        raise RejectedError(f"a variable is larger than {limit} bytes")
    if not inflate.eof:
        raise RejectedError("damaged: a variable ends early")
    return memoryview(content)


def _array(matrix: list[_Element], name: str, order: str) -> NDArray[np.generic]:
    flags, axes = matrix[:2]
    numbers = matrix[3] if len(matrix) == 4 else None
    if flags.kind != _UINT32 or len(flags.content) != 8 or axes.kind != _INT32:
        raise RejectedError("damaged: an array without its flags or dimensions")
    (word,) = struct.unpack_from(order + "I", flags.content)
    if word & 0xFF not in _NUMERIC or word & _COMPLEX or numbers is None:
        raise RejectedError(f"{name} is no array of real numbers")
    shape = tuple(np.frombuffer(axes.content[: len(axes.content) // 4 * 4], order + "i4").tolist())
    code = _NUMBERS.get(numbers.kind)
    if code is None or not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
        raise RejectedError(f"damaged: {name} is {shape}")
    dtype = np.dtype(order + code)
    if math.prod(shape) * dtype.itemsize != len(numbers.content):
        raise RejectedError(f"damaged: {name} is {shape} of {len(numbers.content)} bytes")
    return np.frombuffer(numbers.content, dtype).reshape(shape, order="F")
