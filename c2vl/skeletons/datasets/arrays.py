"""Arrays that others prepared and published: ST-GCN's, AimCLR's and CMD's, CTR-GCN's, PYSKL's.

Which they are is told by what is in SOURCE; where several could be meant, the user names one. 25
joints are those of NTU RGB+D; any other number needs ``--layout``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from c2vl.skeletons.datasets import aimclr, ctrgcn, pyskl
from c2vl.skeletons.datasets.array_rows import (
    PARTS,
    PartArrays,
    class_names,
    items_of,
    layout_for,
    read_rows,
)
from c2vl.skeletons.datasets.base import Found, Item, Options, Reader
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError


def discover(source: Path, options: Options) -> Found:
    """Read labels and names, and cut the arrays into pieces."""
    files = list_files(source)
    positions: dict[str, list[RawFile]] = {}  # what each of AimCLR's kin calls its joints
    for file in files:
        if match := aimclr.POSITION.fullmatch(file.base):
            positions.setdefault(f"{file.folder or '.'}/*_{match[2]}.npy", []).append(file)
    archives = [file for file in files if file.base.endswith(".npz")]
    pickles = [
        file
        for file in files
        if file.base.endswith((".pkl", ".pickle")) and not file.base.endswith("_label.pkl")
    ]
    found = [*positions, *(file.name for file in archives + pickles)]
    if not found:
        raise UserError(
            f"{source}: no train_position.npy (AimCLR), train_data.npy (ST-GCN) or "
            "train_data_joint.npy (2s-AGCN, CMD) with its labels, .npz (CTR-GCN) or .pkl (PYSKL) "
            f"in it{_lies_there(files[:20])}"
        )
    if len(found) > 1:
        raise UserError(
            f"{source}: holds {', '.join(sorted(found))}; give one of them alone as SOURCE"
        )
    if pickles:
        return _annotations(pickles[0], source, options)
    if archives:
        try:
            parts = ctrgcn.parts_of(archives[0], options)
        except (RejectedError, OSError) as error:
            reason = str(error).removeprefix(f"{archives[0].name}: ")
            raise UserError(f"{archives[0].path}: {reason}") from None
        named = {archives[0].name + f"/x_{name}": part for name, part in parts.items()}
        return _rows(named, source, options)
    by_name = {file.name: file for file in files}
    parts_found: dict[str, PartArrays | RejectedError] = {}
    for position in next(iter(positions.values())):
        try:
            parts_found[position.name] = aimclr.part_of(position, by_name)
        except RejectedError as error:
            parts_found[position.name] = error
        except OSError as error:
            parts_found[position.name] = RejectedError(f"cannot be read: {error}")
    return _rows(parts_found, source, options)


def _lies_there(files: list[RawFile]) -> str:
    """Say what files are that no known name fits, where their first bytes tell."""
    for file in files:
        try:
            with file.open() as opened:
                start = opened.read(4)
        except OSError as error:
            return f"; {file.name} is {error}"
        for known, suffix in ((b"\x80", ".pkl"), (b"PK\x03\x04", ".npz")):
            if start.startswith(known):
                return f"; {file.name} begins like a {suffix}: name it so"
    return ""


def _rows(found: dict[str, PartArrays | RejectedError], source: Path, options: Options) -> Found:
    rejected = [
        Rejected(name, error.reason)
        for name, error in found.items()
        if isinstance(error, RejectedError)
    ]
    parts = [part for part in found.values() if isinstance(part, PartArrays)]
    if not parts:
        raise UserError(f"{source}: {rejected[0].file}: {rejected[0].reason}")
    joints = parts[0].facts["joints"]
    if any(part.facts["joints"] != joints for part in parts):
        raise UserError(f"{source}: its parts have not the same number of joints")
    layout = layout_for(joints, options)
    order = {"train": 0, "val": 1, "test": 2}
    parts.sort(key=lambda part: order[part.name])
    names = [name.removesuffix(".skeleton") for part in parts for name in part.names]
    labels = np.concatenate([part.labels for part in parts])
    if len(names) != len(labels):
        names = []
    classes = class_names(names, labels, max(part.width for part in parts), layout)
    called = [part.name for part in parts]
    items: list[Item] = []
    for part in parts:
        # where there is a test part as well, "val" is for selection, and neither of the two
        apart = part.name == "val" and "test" in called
        try:
            items += list(items_of(part, {} if apart else {"given": PARTS[part.name]}))
        except (RejectedError, OSError) as error:
            rejected.append(Rejected(part.data.name, str(error)))
    if not items:
        raise UserError(f"{source}: {rejected[0].file}: {rejected[0].reason}")
    return Found(items, layout, classes, "given", rejected=tuple(rejected))


def _annotations(file: RawFile, source: Path, options: Options) -> Found:
    try:
        read_in = pyskl.Annotations(file)
    except (RejectedError, OSError) as error:
        raise UserError(f"{file.path}: {error}") from None
    entries = read_in.entries
    if not entries:
        reason = read_in.rejected[0].reason if read_in.rejected else "no annotation in it"
        raise UserError(f"{file.path}: {reason}")
    layout = layout_for(read_in.joints, options)
    labels = np.array([entry["label"] for entry in entries])
    names = [entry["id"] for entry in entries]
    classes = class_names(names, labels, int(labels.max()) + 1, layout)
    splits = read_in.splits
    default = "xsub" if "xsub" in splits else splits[0] if splits else ""
    return Found(
        list(pyskl.items_of(file, entries)),
        layout,
        classes,
        default,
        rejected=tuple(read_in.rejected),
    )


def read(item: Item) -> Iterator[Sequence | Rejected]:
    """Read a piece of an array: (1 or more, T, V, 3) without padding."""
    if item.facts["format"] == "pyskl":
        yield from pyskl.read(item)
    elif item.facts["format"] == "aimclr":
        yield from read_rows(item, aimclr.joints_of)
    else:
        joints = item.facts["joints"]
        yield from read_rows(item, lambda row: ctrgcn.joints_of(row, joints))


ARRAYS = Reader("prepared arrays", discover, read, options=frozenset({"layout"}))
