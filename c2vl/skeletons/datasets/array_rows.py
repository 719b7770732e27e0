"""Reads published arrays in which a row is a sequence: labels, names, classes, blocks of rows.

Shapes: N sequences, K classes, M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Series
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.base import Item, Options
from c2vl.skeletons.datasets.ntu import sample_facts
from c2vl.skeletons.datasets.ntu_classes import NTU120_CLASSES
from c2vl.skeletons.formats.npy import BLOCK, ArrayFile
from c2vl.skeletons.layout import LAYOUTS, NTU25, JointLayout, get_layout
from c2vl.skeletons.layout_files import read_layout
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence, checked, trimmed
from c2vl.support.errors import UserError

MOST_CLASSES = 10_000
_MOST_SEQUENCES = 5_000_000
_LONGEST_NAME = 300
PARTS = {"train": "train", "val": "test", "test": "test"}
"""The published name of a part → ours; published results are on the part that is called "val"."""


@dataclass(frozen=True)
class PartArrays:
    """The training or the test part of published arrays.

    Attributes:
        name: "train", "val" or "test", as it is called there.
        data: its array, a sequence a row.
        labels: (N,) from 0; -1 where there is no sound one.
        names: N sample names, or none.
        width: classes, as far as this part shows.
        facts: what the format adds to those of the items.
        lengths: (N,) frames of each sequence that are no padding, where the files say them.
    """

    name: str
    data: ArrayFile
    labels: NDArray[np.int64]
    names: Series[str]
    width: int
    facts: dict[str, Any]
    lengths: NDArray[np.int64] | None = None


def labels_of(array: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return labels of integers or of one-hot rows; -1 where a row is neither.

    Args:
        array: (N,) integers, or (N, K) with a single one in a row and zeros otherwise.
    """
    if array.ndim == 2 and array.dtype.kind in "biuf" and array.shape[1] <= MOST_CLASSES:
        sound = ((array == 0).sum(axis=1) == array.shape[1] - 1) & (array == 1).any(axis=1)
        return np.where(sound, (array == 1).argmax(axis=1), -1).astype(np.int64)
    if array.ndim == 1 and array.dtype.kind in "iu":
        numbers: NDArray[np.int64] = np.minimum(array, MOST_CLASSES).astype(np.int64)
        return np.where((numbers >= 0) & (numbers < MOST_CLASSES), numbers, -1)
    raise RejectedError(
        f"labels are {array.dtype} {array.shape}, neither whole numbers nor one-hot"
    )


def read_labels(array: ArrayFile) -> tuple[NDArray[np.int64], int]:
    """Read all labels of a file block by block.

    Returns:
        (N,) labels, and the number of classes.
    """
    header = array.header()
    if header.shape[0] > _MOST_SEQUENCES if header.shape else True:
        raise RejectedError(f"labels of the shape {header.shape}")
    labels = np.concatenate([labels_of(block) for block in array.rows(0, header.shape[0])])
    return labels, header.shape[1] if len(header.shape) == 2 else int(labels.max()) + 1


def layout_for(joints: int, options: Options) -> JointLayout:
    """Return the layout of arrays: the user's, or that of NTU RGB+D where there are 25 joints.

    Raises:
        UserError: it is not known, or has another number of joints.
    """
    if options.layout is None:
        if joints == len(NTU25.joints):
            return NTU25
        known = ", ".join(f"{name} ({len(one.joints)})" for name, one in LAYOUTS.items())
        raise UserError(
            f"the arrays have {joints} joints and do not say which: give --layout, a name "
            f"({known}) or a YAML file"
        )
    name = options.layout
    layout = read_layout(name) if Path(name).suffix in (".yaml", ".yml") else get_layout(name)
    if len(layout.joints) != joints:
        raise UserError(
            f"--layout {name} has {len(layout.joints)} joints, but the arrays have {joints}"
        )
    return layout


def class_names(
    names: Series[str], labels: NDArray[np.int64], width: int, layout: JointLayout
) -> tuple[str, ...]:
    """Return NTU RGB+D's class names where sample names or the number of classes say that.

    Args:
        names: of all samples, or none.
        labels: theirs; only looked at with names.
    """
    if names:
        facts = [sample_facts(name) for name in names]
        agree = all(
            fact is not None and label in (-1, fact["label"])
            for fact, label in zip(facts, labels.tolist(), strict=True)
        )
        if agree and width <= 120:
            return NTU120_CLASSES[:60] if width <= 60 else NTU120_CLASSES
    elif layout == NTU25 and width in (60, 120):
        return NTU120_CLASSES[:width]
    return tuple(f"class {number}" for number in range(width))


def items_of(part: PartArrays, parts: dict[str, str]) -> Iterator[Item]:
    """Cut a part into pieces of some megabytes; a compressed one is a single piece, read in order.

    Args:
        parts: split → "train" or "test".
    """
    count = len(part.labels)
    header = part.data.header()
    step = max(BLOCK // max(header.size // count, 1), 1)
    if part.data.start_on_disk() is None:
        step = count
    for first in range(0, count, step):
        last = min(first + step, count)
        facts = {
            **part.facts,
            "part": part.name,
            "parts": parts,
            "inner": part.data.inner,
            "labels": part.labels[first:last].tolist(),
            "names": list(part.names[first:last]),
        }
        if part.lengths is not None:
            facts["lengths"] = part.lengths[first:last].tolist()
        yield Item(part.data.file, rows=(first, last), facts=facts)


def check_count(part: str, sequences: int, labels: int, names: int | None = None) -> None:
    """Check that there is one label, and one name if any, for each sequence."""
    for what, count in (("labels", labels), ("names", names)):
        if count is not None and count != sequences:
            raise RejectedError(f"{part}: {count} {what} for {sequences} sequences")


def read_rows(
    item: Item, joints_of: Callable[[NDArray[np.generic]], NDArray[np.generic]]
) -> Iterator[Sequence | Rejected]:
    """Read the rows of an item.

    Args:
        joints_of: turns a row into (M, T, V, C).
    """
    assert item.rows is not None
    array = ArrayFile(item.file, item.facts["inner"])
    first, last = item.rows
    labels, names = item.facts["labels"], item.facts["names"]
    part, lengths = item.facts["part"], item.facts.get("lengths")
    at = first
    for block in array.rows(first, last):
        if block.dtype.kind not in "fiu":
            raise RejectedError(f"{array.name} holds {block.dtype}, no coordinates")
        for row in block:
            name = names[at - first] if names else f"{part}-{at:06d}"
            source = f"{array.name}[{at}]"
            joints = joints_of(row)[:, : lengths[at - first] if lengths else None]
            yield sequence_of(joints, name, labels[at - first], source, item.facts["parts"])
            at += 1


def sequence_of(
    joints_MTVC: NDArray[np.generic], name: str, label: int, source: str, parts: dict[str, str]
) -> Sequence | Rejected:
    """Make a sequence of padded joints (M, T, V, 3); a name of NTU RGB+D gives its other facts."""
    if label < 0:
        return Rejected(source, "its label is no class: neither a whole number nor one-hot")
    name = name.removesuffix(".skeleton")
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        return Rejected(source, "its name is empty, too long or not printable")
    facts = sample_facts(name) or {}
    facts.pop("label", None)
    try:
        sound = checked(joints_MTVC)
    except RejectedError as error:
        return Rejected(source, error.reason)
    try:
        shown, _ = trimmed(sound)  # dropped frames are padding here: no decision to report
    except RejectedError as error:
        return Rejected(source, error.reason, left_out=True)
    return Sequence(name, shown, label=label, source=source, parts=parts, **facts)
