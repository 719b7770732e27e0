"""One motion-capture sequence, as a reader returns it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sequence:
    """Joints and the facts about them that a dataset gives.

    Attributes:
        id: unique within a dataset.
        joints: float32 (M bodies, T frames, V joints, 3), metres, y up; exactly zero in frames in
            which a body is absent.
        label: class number from 0, or -1 when unknown (so also the subject and what follows).
        subject: performer.
        camera: camera number.
        setup: set-up number; the recording, where several cameras saw the same action.
        replication: how often the subject had done the action.
        start: first frame in the recording that it was cut out of, -1 when it was not.
        end: its last frame + 1 there.
        source: the file that it came from, relative to the source.
        parts: split name → "train" or "test", for splits that a dataset gives as lists.
        decisions: what was done to the raw bodies, and how often (see :mod:`.readers.tracks`).
    """

    id: str
    joints: NDArray[np.float32]
    label: int = -1
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    start: int = -1
    end: int = -1
    source: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    decisions: Mapping[str, int] = field(default_factory=dict)


def rows_checksum(rows: NDArray[np.floating]) -> str:
    """Return the checksum of one sequence's rows, as they are stored."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()[:16]
