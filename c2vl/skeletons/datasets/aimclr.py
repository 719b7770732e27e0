"""The arrays of ST-GCN and its kin (2s-AGCN, AimCLR, CrosSCLR, CMD): two bodies, a file a part.

``{train,val}_position.npy``, ``_data.npy`` or ``_data_joint.npy`` (N, 3, T, V, 2) with
``_label.pkl``, the pickle of (sample names, labels from 0), or ``_label.npy``. Where there is a
``_num_frame.npy``, what follows those frames of a sequence is padding, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

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

POSITION = re.compile(r"(train|val|test)_(position|data|data_joint)\.npy")
_MOST_BYTES = 256 << 20  # the names and labels of NTU RGB+D 120 take 3 MB


def part_of(position: RawFile, files: dict[str, RawFile]) -> PartArrays:
    """Return the array and labels of a part.

    Args:
        position: its array of joints.
        files: all of the dataset by name.
    """
    part = position.base.partition("_")[0]
    stem = f"{position.folder}/{part}" if position.folder else part
    data = ArrayFile(position)
    shape = data.header().shape
    if len(shape) != 5 or shape[1] != 3 or not 1 <= shape[4] <= 8:
        raise RejectedError(f"the shape is {shape}, expected (N, 3, frames, joints, bodies)")
    names: list[str] = []
    if pickled := files.get(f"{stem}_label.pkl"):
        with _of(pickled):
            names, labels = _pickled(pickled)
        width = int(labels.max(initial=-1)) + 1
    elif array := files.get(f"{stem}_label.npy"):
        with _of(array):
            labels, width = read_labels(ArrayFile(array))
    else:
        raise RejectedError("there is neither _label.pkl nor _label.npy beside it")
    check_count(part, shape[0], len(labels), len(names) if names else None)
    lengths: NDArray[np.int64] | None = None
    if counted := files.get(f"{stem}_num_frame.npy"):
        with _of(counted):
            lengths = _lengths(ArrayFile(counted), shape)
    facts = {"format": "aimclr", "joints": shape[3]}
    return PartArrays(part, data, labels, names, width, facts, lengths)


@contextmanager
def _of(file: RawFile) -> Iterator[None]:
    """Name the file that is at fault, where it is another than the joints' own."""
    try:
        yield
    except (RejectedError, OSError) as error:
        reason = str(error).removeprefix(f"{file.name}: ")
        raise RejectedError(f"beside it {file.name}: {reason}") from None


def _lengths(array: ArrayFile, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the frames of each sequence that are no padding, (N,)."""
    if array.header().shape != (shape[0],):
        raise RejectedError(f"{array.name} is {array.header().shape}, expected ({shape[0]},)")
    lengths = np.concatenate(list(array.rows(0, shape[0])))
    if lengths.dtype.kind not in "fiu" or not ((lengths >= 1) & (lengths <= shape[2])).all():
        raise RejectedError(f"{array.name}: a number of frames is outside 1..{shape[2]}")
    return lengths.astype(np.int64)


def _pickled(file: RawFile) -> tuple[list[str], NDArray[np.int64]]:
    pickle = Pickle(view(file, _MOST_BYTES))
    if not isinstance(pickle.root, list | tuple) or len(pickle.root) != 2:
        raise RejectedError("no pair of names and labels")
    names, labels = pickle.root
    if isinstance(labels, StoredArray):
        return pickle.texts(names), labels_of(pickle.array(labels))
    if not isinstance(labels, list | tuple):
        raise RejectedError("the labels are no list")
    numbers = [pickle.label(label, MOST_CLASSES) for label in labels]
    return pickle.texts(names), np.array(numbers, dtype=np.int64)


def joints_of(row: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn (3, T, V, M) into (M, T, V, 3)."""
    return row.transpose(3, 1, 2, 0)
