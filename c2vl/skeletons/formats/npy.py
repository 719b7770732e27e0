"""Reads NumPy's array files (``.npy``, and members of ``.npz``) by rows, trusting nothing.

Nothing is allocated for what a header declares: its shape must account for the bytes that are
there. Rows are views of the mapped file, or come in order out of a compressed archive, so that
arrays of any size take little memory. Object arrays, which are pickles, are refused.
"""

from __future__ import annotations

import contextlib
import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.formats.mapped import (
    check_inflation,
    map_file,
    offset_on_disk,
    stored_at,
)
from c2vl.skeletons.formats.raw_files import DAMAGE, RawFile, check_extent
from c2vl.skeletons.rejected import RejectedError

_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 16 << 10
_MOST_AXES = 8
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]{1,20})['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d\s,L]{0,300})\)""")
BLOCK = 8 << 20
"""Bytes of an array that are handled at a time."""


@dataclass(frozen=True)
class Header:
    """The header of a ``.npy``: dtype, shape, order, and the offset of the numbers."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> Header:
    """Read the header of a ``.npy`` from its start."""
    start = stream.read(8)
    if start[:6] != _MAGIC or len(start) < 8:
        raise RejectedError("not a .npy array")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if start[6] not in (1, 2, 3) or length > _MOST_HEADER:
        raise RejectedError("the header of the .npy array is not known")
    text = stream.read(length)
    found = [pattern.search(text.decode("latin-1")) for pattern in (_DESCR, _ORDER, _SHAPE)]
    descr, order, shape = found
    if len(text) < length or descr is None or order is None or shape is None:
        raise RejectedError("the header of the .npy array is damaged, or it holds no plain numbers")
    if not _DTYPE.fullmatch(descr[1]):
        raise RejectedError(f"the array holds {descr[1]}, no plain numbers")
    words = [word.strip().removesuffix("L") for word in shape[1].split(",") if word.strip()]
    if len(words) > _MOST_AXES or not all(re.fullmatch(r"\d{1,15}", word) for word in words):
        raise RejectedError(f"the array has the shape ({shape[1][:40]})")
    axes = tuple(int(word) for word in words)
    if 0 in axes:
        raise RejectedError(f"the array has the shape {axes}: there is nothing in it")
    return Header(np.dtype(descr[1]), axes, order[1] == "True", 8 + width + length)


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file.

    Attributes:
        file: a ``.npy`` or ``.npz``.
        inner: the member of the ``.npz``.
    """

    file: RawFile
    inner: str | None = None

    @property
    def name(self) -> str:
        """The file, and the array in it."""
        return self.file.name + (f"/{self.inner}" if self.inner else "")

    def header(self) -> Header:
        """Read the header, and see that its shape accounts for the bytes that are there."""
        with self._open() as (stream, size):
            header = read_header(stream)
        if header.start + header.size != size:
            raise RejectedError(
                f"{self.name}: {size - header.start} bytes of numbers, but the shape "
                f"{header.shape} of {header.dtype} takes {header.size}"
            )
        return header

    def start_on_disk(self) -> int | None:
        """Return where in ``file.path`` the ``.npy`` starts; None when it is compressed."""
        if self.inner is None:
            return offset_on_disk(self.file)
        if self.file.member is not None:
            return None
        with _damage(self.name), self.file.open() as raw, zipfile.ZipFile(raw) as archive:
            return stored_at(raw, archive.getinfo(self.inner))

    def rows(self, first: int, last: int) -> Iterator[NDArray[np.generic]]:
        """Yield rows ``first`` to ``last - 1`` of the first axis, in blocks of some megabytes."""
        header = self.header()
        if header.fortran and len(header.shape) > 1:
            raise RejectedError(f"{self.name}: in Fortran order; save it with numpy's C order")
        if not 0 <= first <= last <= header.shape[0]:
            raise RejectedError(f"{self.name}: no rows {first}..{last} in {header.shape}")
        row = header.size // header.shape[0]
        if row > 8 * BLOCK:
            raise RejectedError(f"{self.name}: a sequence takes {row} bytes")
        start = self.start_on_disk()
        step = max(BLOCK // row, 1)
        blocks = [(at, min(at + step, last)) for at in range(first, last, step)]
        if start is not None:
            numbers = map_file(self.file.path)[start + header.start :]
            for at, end in blocks:
                yield _array(numbers[at * row : end * row], header, end - at)
            return
        with self._open() as (stream, _):
            _skip(stream, header.start + first * row)
            for at, end in blocks:
                yield _array(_exactly(stream, (end - at) * row, self.name), header, end - at)

    def read(self, limit: int) -> NDArray[np.generic]:
        """Return the whole array."""
        header = self.header()
        if header.size > limit:
            raise RejectedError(f"{self.name}: {header.size} bytes, expected at most {limit}")
        with self._open() as (stream, _):
            _skip(stream, header.start)
            numbers = np.frombuffer(_exactly(stream, header.size, self.name), header.dtype)
        return numbers.reshape(header.shape, order="F" if header.fortran else "C")

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[IO[bytes], int]]:
        """Open the ``.npy`` at its start; yields the stream and its size in bytes."""
        with _damage(self.name), self.file.open() as raw:
            if self.file.member is not None:
                with zipfile.ZipFile(self.file.path) as outer:
                    check_inflation(outer.getinfo(self.file.member))
            if self.inner is None:
                yield raw, self.file.size
                return
            with zipfile.ZipFile(raw) as archive:
                member = archive.getinfo(self.inner)
                check_extent(member, self.file.size)
                check_inflation(member)
                with archive.open(member) as stream:
                    yield stream, member.file_size


def members(file: RawFile) -> list[str]:
    """Return the names of the arrays in an ``.npz``."""
    with _damage(file.name), file.open() as raw, zipfile.ZipFile(raw) as archive:
        return sorted(name for name in archive.namelist() if name.endswith(".npy"))


@contextlib.contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (RejectedError, OSError):
        raise
    except (*DAMAGE, OverflowError) as error:
        how = "cut short or damaged" if isinstance(error, zipfile.BadZipFile) else "damaged"
        raise RejectedError(f"{name}: {how}: {error}") from None


def _array(numbers: bytes | memoryview, header: Header, rows: int) -> NDArray[np.generic]:
    return np.frombuffer(numbers, header.dtype).reshape(rows, *header.shape[1:])


def _exactly(stream: IO[bytes], size: int, name: str) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise RejectedError(f"{name}: ends {size - len(content)} bytes early")
    return content


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0:
        got = len(stream.read(min(size, BLOCK)))
        if not got:
            return
        size -= got
