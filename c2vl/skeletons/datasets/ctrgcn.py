"""CTR-GCN's archives (``NTU60_CS.npz``) and those of its many descendants.

``x_train`` and ``x_test`` (N, T, M·V·3), two bodies beside each other and padded with zeros, with
``y_train`` and ``y_test`` one-hot (N, K) or whole numbers (N,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.array_rows import PartArrays, check_count, layout_for, read_labels
from c2vl.skeletons.datasets.base import Options
from c2vl.skeletons.formats.npy import ArrayFile, members
from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError

_PARTS = ("train", "val", "test")


def parts_of(file: RawFile, options: Options) -> dict[str, PartArrays | RejectedError]:
    """Return the parts in an ``.npz``, or what is wrong with each.

    Raises:
        RejectedError: it is no such archive.
        OSError: it cannot be read.
        UserError: the joints need a layout.
    """
    inside = members(file)
    parts: dict[str, PartArrays | RejectedError] = {}
    for name in _PARTS:
        if f"x_{name}.npy" in inside:
            try:
                parts[name] = _part(file, name, inside, options)
            except RejectedError as error:
                parts[name] = error
    if not parts:
        found = ", ".join(inside)[:80] or "nothing"
        raise RejectedError(f"there is no x_train or x_test in it, but {found}")
    return parts


def _part(file: RawFile, name: str, inside: list[str], options: Options) -> PartArrays:
    data = ArrayFile(file, f"x_{name}.npy")
    shape = data.header().shape
    if len(shape) != 3 or shape[2] % 3:
        raise RejectedError(f"x_{name} is {shape}, expected (N, frames, bodies × joints × 3)")
    if f"y_{name}.npy" not in inside:
        raise RejectedError(f"there is x_{name}, but no y_{name}")
    labels, width = read_labels(ArrayFile(file, f"y_{name}.npy"))
    check_count(name, shape[0], len(labels))
    joints = _joints(shape[2] // 3, options)
    facts = {"format": "ctrgcn", "joints": joints}
    return PartArrays(name, data, labels, (), width, facts)


def _joints(columns: int, options: Options) -> int:
    """Return the number of joints of one body; a row holds one or two bodies."""
    if options.layout is None:
        return 25 if columns in (25, 50) else columns
    for bodies in (1, 2):
        if columns % bodies == 0:
            try:
                return len(layout_for(columns // bodies, options).joints)
            except UserError:
                continue
    return columns


def joints_of(row: NDArray[np.generic], joints: int) -> NDArray[np.generic]:
    """Turn (T, M·V·3) into (M, T, V, 3)."""
    return row.reshape(len(row), -1, joints, 3).transpose(1, 0, 2, 3)
