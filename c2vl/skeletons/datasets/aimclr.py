"""The arrays of AimCLR, CrosSCLR and their kin: 50 frames, two bodies, one file a part.

``{train,val}_position.npy`` (N, 3, T, V, 2) with ``{train,val}_label.pkl``, the pickle of (sample
names, labels from 0), or ``_label.npy``.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.array_rows import (
    MOST_CLASSES,
    PartArrays,
    check_count,
    labels_of,
    read_labels,
)
from c2vl.skeletons.formats.mapped import view
from c2vl.skeletons.formats.npy import ArrayFile
from c2vl.skeletons.formats.pickle_file import Pickle
from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.formats.stored_values import StoredArray
from c2vl.skeletons.rejected import RejectedError

POSITION = re.compile(r"(train|val|test)_position\.npy")
_MOST_BYTES = 256 << 20  # the names and labels of NTU RGB+D 120 take 3 MB


def part_of(position: RawFile, files: dict[str, RawFile]) -> PartArrays:
    """Return the array and labels of a part.

    Args:
        position: its ``_position.npy``.
        files: all of the dataset by name.
    """
    stem = position.name.removesuffix("_position.npy")
    data = ArrayFile(position)
    shape = data.header().shape
    if len(shape) != 5 or shape[1] != 3 or not 1 <= shape[4] <= 8:
        raise RejectedError(f"the shape is {shape}, expected (N, 3, frames, joints, bodies)")
    names: list[str] = []
    if pickled := files.get(f"{stem}_label.pkl"):
        names, labels = _pickled(pickled)
        width = int(labels.max(initial=-1)) + 1
    elif array := files.get(f"{stem}_label.npy"):
        labels, width = read_labels(ArrayFile(array))
    else:
        raise RejectedError("there is neither _label.pkl nor _label.npy beside it")
    part = position.base.partition("_")[0]
    check_count(part, shape[0], len(labels), len(names) if names else None)
    facts = {"format": "aimclr", "joints": shape[3]}
    return PartArrays(part, data, labels, names, width, facts)


def _pickled(file: RawFile) -> tuple[list[str], NDArray[np.int64]]:
    pickle = Pickle(view(file, _MOST_BYTES))
    if not isinstance(pickle.root, list | tuple) or len(pickle.root) != 2:
        raise RejectedError(f"{file.name}: no pair of names and labels")
    names, labels = pickle.root
    if isinstance(labels, StoredArray):
        return pickle.texts(names), labels_of(pickle.array(labels))
    if not isinstance(labels, list | tuple):
        raise RejectedError(f"{file.name}: the labels are no list")
    numbers = [pickle.label(label, MOST_CLASSES) for label in labels]
    return pickle.texts(names), np.array(numbers, dtype=np.int64)


def joints_of(row: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn (3, T, V, M) into (M, T, V, 3)."""
    return row.transpose(3, 1, 2, 0)
