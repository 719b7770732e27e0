"""A store in the formats that other code reads: PYSKL's pickle and CTR-GCN's npz.

Both are written row by row; what a store holds never has to fit in memory.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.splits import RULES, split, split_names
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.files import replacing

_BODIES = 2  # CTR-GCN's arrays always hold two


def export(store: Store, out: Path, split_name: str | None, frames: int | None = None) -> str:
    """Write a store to one file, by its ending.

    Args:
        store: what to write.
        out: ``.pkl`` (PYSKL: all splits of the dataset) or ``.npz`` (CTR-GCN: one split).
        split_name: the split of the ``.npz``; the dataset's usual one when not given. For a
            ``.pkl``, one split more (a CSV file).
        frames: T of the ``.npz``, zero-padded; the longest sequence when not given.

    Returns:
        What was written, in words.

    Raises:
        UserError: another ending, no such split, or a sequence that does not fit.
    """
    writers: dict[str, Callable[[IO[bytes]], str]] = {
        ".pkl": lambda file: _write_pyskl(store, file, split_name),
        ".npz": lambda file: _write_ctrgcn(store, file, split_name, frames),
    }
    if out.suffix not in writers:
        raise UserError(f"{out}: the ending says the format, .pkl (PYSKL) or .npz (CTR-GCN)")
    if frames is not None and out.suffix == ".pkl":
        raise UserError("--frames: a PYSKL pickle keeps every sequence's own length")
    with replacing(out) as file:
        return writers[out.suffix](file)


def _write_pyskl(store: Store, file: IO[bytes], split_name: str | None) -> str:
    names = split_names(store.index)
    if split_name is not None:
        split(store.index, split_name)  # raises on a bad split before anything is written
        names += [] if split_name in names else [split_name]
    ids = store.index["id"].to_numpy()
    lists: dict[str, list[str]] = {}
    for name in names:
        try:
            parts = split(store.index, name)
        except UserError:  # a part of a dataset may lack a whole side
            continue
        short = Path(name).stem if name.endswith(".csv") else name
        short = RULES[name].short if name in RULES else short
        lists[f"{short}_train"] = [str(one) for one in ids[parts.train]]
        lists[f"{short}_val"] = [str(one) for one in ids[parts.test]]
    labels = store.index["label"].to_numpy()
    annotations: list[dict[str, Any]] = []
    for position, name in enumerate(ids):
        joints = np.asarray(store.joints(position))
        annotations.append(
            {
                "frame_dir": str(name),
                "label": int(labels[position]),
                "total_frames": joints.shape[1],
                "keypoint": joints,
            }
        )
    pickler = pickle.Pickler(file, protocol=4)
    pickler.fast = True  # no memo: it would keep the bytes of every array until the end
    pickler.dump({"split": lists, "annotations": annotations})
    return f"{len(annotations)} sequences, splits {', '.join(sorted(lists)) or 'none'}"


def _write_ctrgcn(store: Store, file: IO[bytes], split_name: str | None, frames: int | None) -> str:
    name = split_name or str(store.manifest["default_split"])
    if not name:
        raise UserError("--split: this dataset has no usual split; name one, or give a CSV file")
    parts = split(store.index, name)
    index = store.index
    longest = int(index["frames"].max())
    length = frames or longest
    if longest > length:
        worst = index["id"].iloc[int(index["frames"].argmax())]
        raise UserError(f"--frames {length}: {worst} has {longest} frames; give {longest} or more")
    if store.max_bodies > _BODIES:
        raise UserError(f"{store.path}: CTR-GCN's arrays hold {_BODIES} bodies a sequence")
    labels = index["label"].to_numpy()
    if (labels < 0).any():
        raise UserError(f"{store.path}: some sequences have no label; CTR-GCN's arrays need one")
    one_hot = np.eye(len(store.class_names), dtype=np.float32)
    with zipfile.ZipFile(file, "w") as archive:
        for side, positions in (("train", parts.train), ("test", parts.test)):
            shape = (len(positions), length, _BODIES * len(store.layout.joints) * 3)
            _add(archive, f"x_{side}", shape, "<f4", _padded(store, positions, length))
            _add(
                archive, f"y_{side}", (len(positions), one_hot.shape[0]), "<f4",
                (one_hot[labels[position]] for position in positions),
            )  # fmt: skip
            ids = index["id"].to_numpy()[positions].astype(str)
            _add(archive, f"id_{side}", ids.shape, ids.dtype.str, iter([ids]))
    return f"{name}: {len(parts.train)} train, {len(parts.test)} test, {length} frames"


def _padded(
    store: Store, positions: NDArray[np.int64], length: int
) -> Iterator[NDArray[np.float32]]:
    for position in positions:
        joints = store.joints(int(position))
        bodies, frames, count = joints.shape[:3]
        row = np.zeros((length, _BODIES, count, 3), dtype=np.float32)
        row[:frames, :bodies] = joints.transpose(1, 0, 2, 3)
        yield row


def _add(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    rows: Iterator[NDArray[Any]],
) -> None:
    """Write one array of an npz, row after row."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for row in rows:
            member.write(np.ascontiguousarray(row).tobytes())
