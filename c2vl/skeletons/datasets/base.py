"""A dataset's reader: it finds the raw files, turns each into sequences and reports the unusable.

A reader is a module with two functions and a :class:`Reader` that holds them::

    def discover(source: Path, options: Options) -> Found: ...   # nothing is parsed yet
    def read(item: Item) -> Iterator[Sequence | Rejected]: ...   # in any process, in any order

``read`` is a function of the module, because other processes import it by name, and depends on its
item alone: the same item gives the same sequences everywhere. Where a whole item cannot be used,
it raises :class:`.RejectedError`, with the line of a text file, or the ``OSError`` of reading.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.axes import UNCHANGED, Conversion
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence, checked, require_near, trimmed
from c2vl.support.errors import UserError


@dataclass(frozen=True)
class Options:
    """A user's options beyond the source; a reader lists those that it understands.

    Axes and unit are no reader's concern: what it yields is converted.

    Attributes:
        missing: a file that lists samples without a usable skeleton, one name a line.
        layout: the joint layout of arrays, which do not state it: a name, or a YAML file.
        window: cut untrimmed videos into windows of this many frames instead of instances.
        stride: frames from one window to the next; half a window when not given.
        fps: frames a second that motion capture is resampled to; the first file's when not given.
        up: the axis that points up in the source (:data:`c2vl.skeletons.axes.UP`); y when not
            given.
        unit: of the source's numbers (:data:`c2vl.skeletons.axes.UNITS`), or its length in metres;
            the reader's when not given.
    """

    missing: Path | None = None
    layout: str | None = None
    window: int | None = None
    stride: int | None = None
    fps: float | None = None
    up: str | None = None
    unit: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Item:
    """A piece of work for ``read``.

    Attributes:
        rows: the first row and the last row + 1 to read, where the file is an array.
        beside: files that belong to it (labels).
        facts: what ``discover`` learnt elsewhere, such as a row of a table; plain values.
    """

    file: RawFile
    rows: tuple[int, int] | None = None
    beside: tuple[RawFile, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file, and the rows if only some are read, as tables show it."""
        return self.file.name + (f"[{self.rows[0]}:{self.rows[1]}]" if self.rows else "")

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and modification times, the rows and the facts."""
        files = [(file.name, file.size, file.stamp) for file in (self.file, *self.beside)]
        content = json.dumps([files, self.rows, self.facts], sort_keys=True, default=list)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Found:
    """What ``discover`` finds in a source.

    Attributes:
        items: pieces of work, in the order of the store.
        layout: joints of all sequences.
        class_names: by label.
        default_split: the usual train and test parts (:mod:`c2vl.skeletons.splits`), if any.
        rejected: what ``discover`` already rejects, such as a label file without its video.
    """

    items: list[Item]
    layout: JointLayout
    class_names: tuple[str, ...]
    default_split: str = ""
    fps: float = 30.0
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A dataset's reader.

    Attributes:
        discover: finds the items of a source; UserError when it is not this dataset.
        read: yields an item's sequences and rejections; :class:`RejectedError` rejects all of it.
        options: the :class:`Options` that it understands.
        version: increase it when the same files would give other sequences.
        unit: of what ``read`` yields (:data:`c2vl.skeletons.axes.UNITS`).
        name: on the command line; the registration says it (:func:`.get_reader` fills it in).
        expects: what SOURCE is, in one line; the registration's ``help``.
    """

    title: str
    discover: Callable[[Path, Options], Found]
    read: Callable[[Item], Iterable[Sequence | Rejected]]
    options: frozenset[str] = frozenset()
    version: int = 1
    unit: str = "m"
    name: str = ""
    expects: str = ""

    def conversion(self, options: Options) -> Conversion:
        """Return what turns its sequences to metres with y up.

        Raises:
            UserError: an option has no such value.
        """
        return Conversion.of(options.up or "y", options.unit or self.unit)


def files_named(source: Path, pattern: re.Pattern[str], example: str) -> list[RawFile]:
    """Return the files below a folder, or in its zip archives, whose name matches in full.

    Args:
        pattern: of the last part of the name.
        example: such a name, for the message.

    Raises:
        UserError: there is none.
    """
    files = [file for file in list_files(source) if pattern.fullmatch(file.base)]
    if not files:
        raise UserError(f"{source}: no file is named like {example}")
    return files


def whole_item(item: Item, joints_MTVC: NDArray[np.generic], **facts: Any) -> Sequence:
    """Make the one sequence of an item, without bodies and frames that are all zero."""
    shown, decisions = trimmed(checked(joints_MTVC))
    return Sequence(joints=shown, source=item.name, decisions=decisions, **facts)


def read_item(
    read: Callable[[Item], Iterable[Sequence | Rejected]],
    item: Item,
    conversion: Conversion = UNCHANGED,
) -> Iterator[Sequence | Rejected]:
    """Read one item; rejections and read errors are yielded as :class:`Rejected`, never raised.

    Args:
        read: the reader's function.
        conversion: from the source's axes and unit to ours.
    """
    try:
        for one in read(item):
            if isinstance(one, Rejected):
                yield one
                continue
            joints = conversion(one.joints)
            try:
                require_near(joints)
            except RejectedError as error:
                yield Rejected(one.source or item.name, error.reason)
            else:
                yield replace(one, joints=joints)
    except RejectedError as error:
        yield Rejected(item.name, error.reason, error.line)
    except OSError as error:
        yield Rejected(item.name, f"cannot be read: {error.strerror or error}")
