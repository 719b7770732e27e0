"""One motion-capture sequence, as a reader returns it, and the checks that every reader makes.

Shapes: M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.rejected import RejectedError

FARTHEST = 1e3
"""Metres from the sensor; a Kinect sees 8, and what is farther away than this is damage."""
_LARGEST = 1e6  # in any unit


@dataclass(frozen=True)
class Sequence:
    """Joints and the facts about them that a dataset gives.

    Attributes:
        id: unique within a dataset.
        joints: float32 (M bodies, T frames, V joints, 3), metres, y up (from a reader: in the
            source's unit and axes); exactly zero in frames in which a body is absent.
        label: class number from 0, or -1 when unknown (so also the subject and what follows).
        subject: the performer.
        camera: camera number.
        setup: set-up number; the recording, where several cameras saw the same action.
        replication: how often the subject had done the action.
        start: first frame within the recording that it was cut from, -1 if it was not cut.
        end: last frame + 1 there.
        source: the file that it was read from, relative to SOURCE.
        parts: split name → "train" or "test", for splits that a dataset gives as lists.
        decisions: what was done to the raw bodies, and how often (:mod:`.formats.kinect_tracks`).
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


def checked(joints_MTVC: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return joints as float32 if every number can be a position, in whatever unit.

    Raises:
        RejectedError: NaN, infinite or beyond a million.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        converted = np.ascontiguousarray(joints_MTVC, dtype=np.float32)
        if not (np.abs(converted) < _LARGEST).all():  # also false for NaN
            large = np.isfinite(converted).all()
            raise RejectedError(f"a coordinate is {'over a million' if large else 'not finite'}")
    return converted


def require_near(joints_MTVC: NDArray[np.float32]) -> None:
    """Check that joints in metres are where a sensor can see them.

    Raises:
        RejectedError: one is farther than :data:`FARTHEST`.
    """
    if not (np.abs(joints_MTVC) < FARTHEST).all():
        raise RejectedError(
            f"a coordinate is over {FARTHEST:g} m; joints are in metres, unless --unit says another"
        )


def trimmed(joints_MTVC: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, int]]:
    """Drop body slots that are never used and frames that show nobody.

    Returns:
        The remaining bodies and frames, and the number of dropped frames as ``Sequence.decisions``
        counts it.

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
