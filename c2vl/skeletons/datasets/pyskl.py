"""PYSKL's pickles (``ntu60_3danno.pkl``): ``{"split": {name: [ids]}, "annotations": [...]}``.

An annotation has ``frame_dir`` (its id), ``label`` and ``keypoint`` (M, T, V, 3), and may say
``total_frames``. Split names are like ``xsub_train`` and ``xsub_val``. The numbers stay in the file
and are read from there, a piece at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from c2vl.skeletons.datasets.array_rows import MOST_CLASSES, PARTS, sequence_of
from c2vl.skeletons.datasets.base import Item
from c2vl.skeletons.formats.mapped import offset_on_disk, view
from c2vl.skeletons.formats.npy import BLOCK
from c2vl.skeletons.formats.pickle_file import Pickle
from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.formats.stored_values import Blob, StoredArray, array_of
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence

_MOST_BYTES = 1 << 30  # inflated; on disk it is mapped, whatever its size
_MOST_ARRAY = 256 << 20
_SPLIT = re.compile(r"(?:(.+?)[_-])?(train|val|test)(\d{0,3})")


class Annotations:
    """The annotations of a pickle.

    Attributes:
        entries: facts of each usable annotation.
        joints: of all entries.
        splits: names of the splits, as they stand in the file.
    """

    def __init__(self, file: RawFile) -> None:
        pickle = Pickle(view(file, _MOST_BYTES))
        root = pickle.root
        if not isinstance(root, dict) or not isinstance(root.get("annotations"), list):
            raise RejectedError('no {"split": …, "annotations": [...]} in the pickle')
        self.rejected: list[Rejected] = []
        parts = self._parts(file, pickle, root.get("split", {}))
        self.entries: list[dict[str, Any]] = []
        for number, annotation in enumerate(root["annotations"]):
            try:
                entry = _entry(pickle, annotation)
            except RejectedError as error:
                self.rejected.append(Rejected(f"{file.name}[{number}]", error.reason))
                continue
            entry["parts"] = parts.get(entry["id"], {})
            entry["number"] = number
            self.entries.append(entry)
        self._leave_out_empty_splits(file, parts)
        joints = {entry["shape"][2] for entry in self.entries}
        if len(joints) > 1:
            raise RejectedError(f"sequences of {', '.join(map(str, sorted(joints)))} joints")
        self.joints = joints.pop() if joints else 0

    def _parts(self, file: RawFile, pickle: Pickle, splits: Any) -> dict[str, dict[str, str]]:
        if not isinstance(splits, dict):
            raise RejectedError("split is no dict of lists")
        matches = {name: _SPLIT.fullmatch(name) for name in splits}
        tests = {(match[1], match[3]) for match in matches.values() if match and match[2] == "test"}
        self.splits: list[str] = []
        parts: dict[str, dict[str, str]] = {}
        for name, ids in splits.items():
            match = matches[name]
            if match is None or (match[2] == "val" and (match[1], match[3]) in tests):
                reason = f'split "{name[:40]}" is neither the training nor the test part of one'
                self.rejected.append(Rejected(file.name, reason, left_out=True))
                continue
            split = (match[1] or "given") + match[3]
            if split not in self.splits:
                self.splits.append(split)
            part = PARTS[match[2]]
            for sample in pickle.texts(ids):
                if parts.setdefault(sample, {}).setdefault(split, part) != part:
                    raise RejectedError(f"{sample[:80]} is in both parts of split {split[:40]}")
        return parts

    def _leave_out_empty_splits(self, file: RawFile, parts: dict[str, dict[str, str]]) -> None:
        """Forget splits whose names are those of no annotation; all of them are a mistake."""
        used = {split for entry in self.entries for split in entry["parts"]}
        empty = [split for split in self.splits if split not in used]
        self.splits = [split for split in self.splits if split in used]
        for split in empty if self.entries else ():
            reason = f"split {split[:40]} names no annotation"
            if (name := next((name for name in parts if split in parts[name]), None)) is not None:
                one = self.entries[0]["id"]
                reason += f': it has "{name[:80]}", and a frame_dir is "{one[:80]}"'
            if not used:
                raise RejectedError(reason)
            self.rejected.append(Rejected(file.name, reason, left_out=True))


def _entry(pickle: Pickle, annotation: Any) -> dict[str, Any]:
    """Return the fields of an annotation that reading needs, in plain values."""
    if not isinstance(annotation, dict):
        raise RejectedError("an annotation is no dict")
    for field in ("frame_dir", "label", "keypoint"):
        if field not in annotation:
            raise RejectedError(f"an annotation has no {field}")
    label, keypoint = pickle.label(annotation["label"], MOST_CLASSES), annotation["keypoint"]
    if label < 0:
        raise RejectedError("label is no whole number from 0")
    if not isinstance(keypoint, StoredArray) or keypoint.data is None:
        raise RejectedError("keypoint is no array")
    shape = keypoint.shape
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        two = "; these are 2D poses" if len(shape) == 4 and shape[3] == 2 else ""
        raise RejectedError(f"keypoint is {shape}, expected (bodies, frames, joints, 3){two}")
    if np.dtype(keypoint.dtype).kind not in "fiu" or keypoint.size > _MOST_ARRAY:
        raise RejectedError(f"keypoint is {keypoint.dtype} {shape}")
    total = annotation.get("total_frames", shape[1])
    if type(total) is int and total != shape[1]:
        raise RejectedError(f"keypoint has {shape[1]} frames, but total_frames is {total}")
    return {
        "id": pickle.text(annotation["frame_dir"]),
        "label": label,
        "dtype": keypoint.dtype,
        "shape": list(shape),
        "fortran": keypoint.fortran,
        "data": list(keypoint.data),
    }


def items_of(file: RawFile, entries: list[dict[str, Any]]) -> Iterator[Item]:
    """Group annotations by some megabytes; all at once where the pickle has to be inflated."""
    whole = offset_on_disk(file) is None
    group: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += entry["data"][2]
        if size > BLOCK and not whole:
            yield _item(file, group)
            group, size = [], 0
    if group:
        yield _item(file, group)


def _item(file: RawFile, group: list[dict[str, Any]]) -> Item:
    rows = group[0]["number"], group[-1]["number"] + 1
    return Item(file, rows=rows, facts={"format": "pyskl", "annotations": group})


def read(item: Item) -> Iterator[Sequence | Rejected]:
    """Read annotations where they lie in the file."""
    data = view(item.file, _MOST_BYTES)
    for entry in item.facts["annotations"]:
        source = f"{item.file.name}[{entry['number']}]"
        stored = StoredArray(
            entry["dtype"], tuple(entry["shape"]), entry["fortran"], Blob(*entry["data"])
        )
        try:
            joints = array_of(data, stored)
        except RejectedError as error:
            yield Rejected(source, error.reason)
            continue
        yield sequence_of(joints, entry["id"], entry["label"], source, entry["parts"])
