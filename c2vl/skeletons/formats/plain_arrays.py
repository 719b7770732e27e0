"""One recording a file as plain numbers: ``.npy``, ``.npz``, ``.mat`` (5 to 7.2), text.

What the axes of an array are is said in words, ``frames joints xyz`` say. ``*`` joins what one axis
holds, the first slowest: ``frames*joints xyzc`` is a table with a line a joint (x, y, z and a
confidence, which is dropped), ``frames joints*xyz`` one with a line a frame.

Shapes: M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.formats import matlab
from c2vl.skeletons.formats.npy import ArrayFile, members
from c2vl.skeletons.formats.number_rows import number_rows, number_rows_by_line
from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError

ARRAYS = (".npy", ".npz", ".mat")
TEXTS = (".txt", ".csv", ".tsv")
AXES = ("bodies", "frames", "joints", "xyz", "xyzc")
_WIDTHS = {"xyz": 3, "xyzc": 4}
_MOST_FILE = 256 << 20
_MOST_BODIES = 16


def variables(file: RawFile) -> list[str]:
    """Return the names of the arrays in a ``.npz`` or ``.mat``; none of other files."""
    if file.base.lower().endswith(".npz"):
        return [name.removesuffix(".npy") for name in members(file)]
    if file.base.lower().endswith(".mat"):
        return matlab.variables(file.read(_MOST_FILE), _MOST_FILE)
    return []


def read_numbers(file: RawFile, variable: str = "") -> NDArray[np.generic]:
    """Return the array of a file.

    Args:
        variable: which one of a ``.npz`` or ``.mat``; may be left out where there is one alone, or
            one called ``joints``.
    """
    kind = file.base.lower()
    if kind.endswith(TEXTS):
        return _table(file.read(_MOST_FILE))
    if kind.endswith(".npy"):
        array = ArrayFile(file).read(_MOST_FILE)
    elif kind.endswith(".npz"):
        array = ArrayFile(file, _chosen(variables(file), variable) + ".npy").read(_MOST_FILE)
    else:
        content = file.read(_MOST_FILE)
        name = _chosen(matlab.variables(content, _MOST_FILE), variable)
        array = matlab.read_array(content, name, _MOST_FILE)
    if array.dtype.kind not in "fiu":
        raise RejectedError(f"the array holds {array.dtype}, no coordinates")
    return array


def _chosen(there: list[str], variable: str) -> str:
    if variable:
        if variable not in there:
            raise RejectedError(f'no array "{variable}" in it, only {", ".join(there) or "none"}')
        return variable
    if "joints" in there:
        return "joints"
    if len(there) != 1:
        raise RejectedError(f'{len(there)} arrays in it, and none is named "joints"')
    return there[0]


_DECIMAL_COMMA = re.compile(rb"(?:^|[;\t ])([+-]?\d+,\d+)(?:[;\t ]|$)", re.M)


def _table(text: bytes) -> NDArray[np.float64]:
    """Return the numbers of a text, a row a line; a first line of words is a heading.

    Raises:
        RejectedError: there are none, or decimal commas would make two of each.
    """
    if b"." not in text and (found := _DECIMAL_COMMA.search(text)):
        raise RejectedError(f"decimal commas ({found[1].decode()}): write numbers with points")
    text = re.sub(rb"[,;\t ]+", b" ", text.removeprefix(b"\xef\xbb\xbf").strip())
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and not is_row(lines[0]):
        lines = lines[1:]
    if not lines:
        raise RejectedError("there are no numbers in it")
    content, columns = b"\n".join(lines) + b"\n", len(lines[0].split())
    rows = number_rows(content, columns)
    return rows if rows is not None else number_rows_by_line(content, columns)


def is_row(line: bytes) -> bool:
    """Say whether a line holds three numbers or more and nothing else."""
    words = re.split(rb"[,;\s]+", line.strip(b"\xef\xbb\xbf \t\r\n,;"))
    try:
        return len([float(word) for word in words]) >= 3
    except ValueError:
        return False


def parse_axes(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the names that each axis of an array holds.

    Raises:
        UserError: a word is not known, or one of frames, joints and xyz is absent or there twice.
    """
    axes = tuple(tuple(word.split("*")) for word in words)
    names = [name for axis in axes for name in axis]
    wanted = [["frames"], ["joints"], ["xyz", "xyzc"]]
    whole = all(sum(name in one for name in names) == 1 for one in wanted)
    if not whole or len(set(names)) < len(names) or not set(names) <= set(AXES):
        raise UserError(
            f"axes: {', '.join(words)}: name each axis of the arrays, with frames, joints and xyz "
            "(xyzc: a confidence follows), and bodies if there are; frames*joints for both in one"
        )
    return axes


def placed(
    array: NDArray[np.generic], axes: Sequence[Sequence[str]], joints: int
) -> NDArray[np.generic]:
    """Return an array as (M, T, V, 3).

    Args:
        array: as the file has it.
        axes: of :func:`parse_axes`.
        joints: V, of the layout.
    """
    expected = " × ".join("*".join(axis) for axis in axes)
    if array.ndim != len(axes):
        raise RejectedError(f"the array is {array.shape}, expected {expected}")
    shape: list[int] = []
    for size, axis in zip(array.shape, axes, strict=True):
        known = [{"joints": joints, **_WIDTHS}.get(name, 0) for name in axis]
        rest, left = math.prod(width or 1 for width in known), known.count(0)
        if left > 1 or size % rest or (not left and size != rest):
            raise RejectedError(
                f"the array is {array.shape}, expected {expected} with {joints} joints"
            )
        shape += [width or size // rest for width in known]
    names = [name.removesuffix("c") for axis in axes for name in axis]
    array = array.reshape(shape)
    if "bodies" not in names:
        names, array = ["bodies", *names], array[None]
    array = array.transpose([names.index(name) for name in AXES[:4]])[..., :3]
    if array.shape[0] > _MOST_BODIES:
        raise RejectedError(
            f"{array.shape[0]} bodies in it; at most {_MOST_BODIES} bodies are read"
        )
    return array
