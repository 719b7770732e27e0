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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.sequence import Sequence

FARTHEST = 1e3
"""Metres from the sensor; a Kinect sees 8, and what is farther away than this is damage."""


class RejectedError(ValueError):
    """A file, or a part of one, that cannot be used.

    Args:
        reason: what ``rejected.csv`` says.
        line: the line of a text file, from 1.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class Rejected:
    """Something that did not become a sequence: a row of ``rejected.csv``.

    Attributes:
        file: the file, and which part of it, relative to the source.
        reason: why.
        line: the line of a text file, from 1.
        left_out: a rule of the dataset leaves it out (no skeleton in it, an official list); this is
            no damage and does not count against ``--max-rejected``.
    """

    file: str
    reason: str
    line: int | None = None
    left_out: bool = False


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
        default_split: the usual train and test parts (:mod:`c2vl.skeletons.splits`).
        fps: frames a second.
        rejected: what cannot be read, as ``discover`` sees already (a label without its video).
    """

    items: list[Item]
    layout: JointLayout
    class_names: tuple[str, ...]
    default_split: str
    fps: float = 30.0
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A format that can be prepared.

    Attributes:
        name: on the command line.
        title: in manifests and figures.
        expects: what SOURCE is, in one line for the help text.
        discover: source → what is in it; UserError when it is not this dataset.
        read: item → its sequences, and what of it cannot be used; :class:`RejectedError` when
            nothing of it can.
        options: the :class:`Options` that it understands.
        version: raise it when the same files would give other sequences.
    """

    name: str
    title: str
    expects: str
    discover: Callable[[Path, Options], Found]
    read: Callable[[Item], Iterable[Sequence | Rejected]]
    options: frozenset[str] = frozenset()
    version: int = 1


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


def checked(joints: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return joints as float32 if every number can be a position.

    Raises:
        RejectedError: NaN, infinite or farther than :data:`FARTHEST` metres.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        converted = np.ascontiguousarray(joints, dtype=np.float32)
        if not (np.abs(converted) < FARTHEST).all():  # also false for NaN
            if np.isfinite(converted).all():
                raise RejectedError(f"a coordinate is over {FARTHEST:g} m; joints are in metres")
            raise RejectedError("a coordinate is not finite")
    return converted


def trimmed(joints_MTVC: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, int]]:
    """Drop body slots that are never used and frames that show nobody.

    Returns:
        What is left, and how many frames went, as ``Sequence.decisions`` has it.

    Raises:
        RejectedError: nothing is left.
    """
    there = np.any(joints_MTVC, axis=(2, 3))
    if not there.any():
        raise RejectedError("no frame has a body")
    shown = there.any(axis=0)
    dropped = int(len(shown) - shown.sum())
    kept = np.ascontiguousarray(joints_MTVC[there.any(axis=1)][:, shown])
    return kept, {"empty frames dropped": dropped} if dropped else {}
