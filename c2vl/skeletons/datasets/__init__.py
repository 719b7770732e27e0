"""The datasets that ``c2vl data prepare`` reads, each by a name.

A dataset is a :class:`Reader` that a module registers, ours as anybody's::

    register("dataset", "mine", Reader("My dataset", discover, read), help="what SOURCE is")

docs/datasets.md has a whole one. What such a module needs can be imported from here.
"""

from __future__ import annotations

from dataclasses import replace

from c2vl.registry import find, register
from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, files_named, read_item
from c2vl.skeletons.layout import JointLayout, layout_of
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence, checked, trimmed
from c2vl.support.errors import UserError

__all__ = [
    "Found",
    "Item",
    "JointLayout",
    "Options",
    "Reader",
    "Rejected",
    "RejectedError",
    "Sequence",
    "checked",
    "files_named",
    "get_reader",
    "layout_of",
    "read_item",
    "trimmed",
]

_NTU = "the folder of the .skeleton files, or of the official zip archives"
_PKUMMD = "the folder that holds the skeleton, label and split files, or zip archives of them"
for _name, _target, _expects in (
    ("ntu60", "datasets.ntu:NTU60", _NTU),
    ("ntu120", "datasets.ntu:NTU120", _NTU),
    ("pkummd1", "datasets.pkummd:PKUMMD1", _PKUMMD),
    ("pkummd2", "datasets.pkummd:PKUMMD2", _PKUMMD),
    ("utd-mhad", "datasets.utd_mhad:UTD_MHAD", "the folder that holds Skeleton/, or a zip of it"),
    (
        "nw-ucla",
        "datasets.nw_ucla:NW_UCLA",
        "the folder of the JSON files, or a zip of it (all_sqe.zip)",
    ),
    (
        "arrays",
        "datasets.arrays:ARRAYS",
        "AimCLR's folder of .npy files, CTR-GCN's .npz or PYSKL's .pkl",
    ),
    (
        "folder",
        "datasets.folder:FOLDER",
        "a folder of .npy or .npz files, sequences.csv and layout.yaml, or a zip of it",
    ),
    ("demo", "demo.reader:DEMO", _NTU),
):
    register("dataset", _name, f"c2vl.skeletons.{_target}", help=_expects)


def get_reader(name: str) -> Reader:
    """Return a dataset's reader.

    Raises:
        UserError: no dataset has this name, or what is registered under it is no reader.
    """
    part = find("dataset", name)
    reader = part.load()
    if not isinstance(reader, Reader):
        raise UserError(
            f"dataset {name}: {part.module} registered a {type(reader).__name__}; register a "
            "c2vl.skeletons.datasets.Reader"
        )
    return replace(reader, name=part.name, expects=part.help)
