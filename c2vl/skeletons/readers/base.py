"""What a dataset's reader gives: how to find its files, how to read one, and its names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.sequence import Sequence


class RejectedError(ValueError):
    """A file that cannot be used; the message is the reason that ``rejected.csv`` gives."""


@dataclass(frozen=True)
class Reader:
    """A dataset that can be prepared.

    Attributes:
        name: the name on the command line.
        title: the name in manifests and figures.
        layout: joints of its sequences.
        class_names: by label.
        default_split: the usual train and test parts (:mod:`c2vl.skeletons.splits`).
        discover: source folder → files, in a fixed order; UserError when it has none.
        read: file → sequence; :class:`RejectedError` when the file cannot be used.
        fps: frames a second of the sensor.
    """

    name: str
    title: str
    layout: JointLayout
    class_names: tuple[str, ...]
    default_split: str
    discover: Callable[[Path], list[Path]]
    read: Callable[[Path], Sequence]
    fps: float = 30.0
