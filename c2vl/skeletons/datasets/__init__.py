"""The datasets that ``c2vl data prepare`` reads, each by a name.

A dataset is a :class:`Reader` that a module registers, ours as anybody's::

    register("dataset", "mine", Reader("My dataset", discover, read), help="what SOURCE is")

docs/datasets.md has a whole one. What such a module needs can be imported from here.
"""

from __future__ import annotations

from dataclasses import replace

from c2vl.registry import find
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
