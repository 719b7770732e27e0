"""What a dataset's reader is: find the raw files, turn each into sequences, say what was unusable.

A reader is one module with two functions and a :class:`Reader` that names them::

    def discover(source: Path, options: Options) -> Found: ...   # nothing is parsed yet
    def read(item: Item) -> Iterator[Sequence | Rejected]: ...   # in any process, in any order

``read`` is a module-level function, since it is sent to other processes, and depends on nothing but
its item: the same item gives the same sequences everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError


@dataclass(frozen=True)
class Options:
    """What a user can say beyond the source; a reader names those that it understands.

    Attributes:
        missing: a list of sample names that have no usable skeleton, one a line.
        layout: the joint layout of arrays that do not tell it: a name, or a YAML file.
        window: cut untrimmed videos into windows of this many frames instead of instances.
        stride: frames from one window to the next; half a window when not given.
    """

    missing: Path | None = None
    layout: str | None = None
    window: int | None = None
    stride: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Item:
    """A piece of work for ``read``.

    Attributes:
        file: the file to read.
        rows: first and last + 1 of the rows of an array that are meant.
        beside: files that belong to it (labels).
        facts: what ``discover`` found out elsewhere (a row of a table); plain values.
    """

    file: RawFile
    rows: tuple[int, int] | None = None
    beside: tuple[RawFile, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file, and the rows where they are meant, as tables show it."""
        return self.file.name + (f"[{self.rows[0]}:{self.rows[1]}]" if self.rows else "")

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when the files' size or time of change does, or what is known of them."""
        files = [(file.name, file.size, file.stamp) for file in (self.file, *self.beside)]
        content = json.dumps([files, self.rows, self.facts], sort_keys=True, default=list)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Found:
    """What is in a source.

    Attributes:
        items: pieces of work, in the order of the store.
        layout: joints of all sequences.
        class_names: by label.
        default_split: the usual train and test parts (:mod:`c2vl.skeletons.splits`), if any.
        fps: frames a second.
        rejected: what cannot be read, as ``discover`` sees already (a label without its video).
    """

    items: list[Item]
    layout: JointLayout
    class_names: tuple[str, ...]
    default_split: str = ""
    fps: float = 30.0
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A format that can be prepared.

    Attributes:
        title: in manifests and figures.
        discover: source → what is in it; UserError when it is not this dataset.
        read: item → its sequences, and what of it cannot be used; :class:`RejectedError` when
            nothing of it can.
        options: the :class:`Options` that it understands.
        version: raise it when the same files would give other sequences.
        name: on the command line; the registration says it (:func:`.get_reader` fills it in).
        expects: what SOURCE is, in one line; the registration's ``help``.
    """

    title: str
    discover: Callable[[Path, Options], Found]
    read: Callable[[Item], Iterable[Sequence | Rejected]]
    options: frozenset[str] = frozenset()
    version: int = 1
    name: str = ""
    expects: str = ""


def files_named(source: Path, pattern: re.Pattern[str], example: str) -> list[RawFile]:
    """Return the files below a folder, or in its zip archives, whose name matches in full.

    Args:
        source: a folder or one zip archive.
        pattern: of the last part of the name.
        example: such a name, for the message.

    Raises:
        UserError: there is none.
    """
    files = [file for file in list_files(source) if pattern.fullmatch(file.base)]
    if not files:
        raise UserError(f"{source}: no file is named like {example}")
    return files


def read_item(
    read: Callable[[Item], Iterable[Sequence | Rejected]], item: Item
) -> Iterator[Sequence | Rejected]:
    """Read one item; what cannot be used comes back as :class:`Rejected`, never as an error."""
    try:
        yield from read(item)
    except RejectedError as error:
        yield Rejected(item.name, error.reason, error.line)
    except OSError as error:
        yield Rejected(item.name, f"cannot be read: {error.strerror or error}")
