"""Strings and arrays of a pickle, kept as offsets into the file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.rejected import RejectedError

_LONGEST_TEXT = 4096

BYTES, TEXT, LATIN1 = 0, 1, 2


class Blob(NamedTuple):
    """Bytes or text that stay in the file.

    Attributes:
        kind: ``BYTES``, ``TEXT`` (UTF-8), or ``LATIN1``: bytes that protocol 2 writes as UTF-8.
    """

    kind: int
    start: int
    length: int


@dataclass(slots=True)
class StoredArray:
    """An array whose numbers stay in the file; a NumPy scalar has the shape ()."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: Blob | None = None

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def array_of(data: memoryview, stored: StoredArray) -> NDArray[Any]:
    """Return the numbers of an array."""
    assert stored.data is not None
    kind, start, length = stored.data
    numbers: bytes | memoryview = data[start : start + length]
    if kind == LATIN1:
        if not stored.size <= length <= 2 * stored.size:
            raise RejectedError(f"an array of {stored.shape} has {length} bytes")
        try:
            numbers = bytes(numbers).decode().encode("latin-1")
        except UnicodeError:
            raise RejectedError("the numbers of an array are damaged") from None
    if len(numbers) != stored.size:
        raise RejectedError(f"an array of {stored.shape} has {len(numbers)} bytes")
    flat = np.frombuffer(numbers, stored.dtype)
    try:
        return flat.reshape(stored.shape, order="F" if stored.fortran else "C")
    except ValueError:
        raise RejectedError(f"an array has the shape {stored.shape}") from None


def text_of(data: memoryview, value: Any) -> str:
    """Decode a string."""
    if not isinstance(value, Blob) or value.length > _LONGEST_TEXT:
        raise RejectedError("a name is no text, or has no end")
    content = bytes(data[value.start : value.start + value.length])
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RejectedError(f"a name is not UTF-8: {content[:20]!r}") from None
