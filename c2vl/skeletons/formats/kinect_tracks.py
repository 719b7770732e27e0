"""From the bodies that a Kinect v2 tracked to the one or two persons who were there.

Bodies come and go, get new ids, or are furniture. The rules are those of the field (NTU RGB+D's
own notes and CTR-GCN's ``get_raw_denoised_data``); they apply only where a choice has to be made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHORTEST = 11  # frames; shorter tracks are flicker (CTR-GCN)
_WIDEST = 0.8  # a person's extent in x is at most this share of that in y (CTR-GCN)
_NOISY = 0.7  # share of too wide frames from which a track is furniture (CTR-GCN: 0.69754)
_NEAR = 0.6  # metres between the end of one track and the start of the next of the same person

DECISIONS = (
    "flickers dropped",
    "furniture dropped",
    "third persons dropped",
    "tracks joined",
    "empty frames dropped",
)
"""What :func:`two_persons` decides, counted in manifests (frames: those up to the last body)."""


@dataclass(frozen=True)
class Track:
    """The frames in which the sensor tracked one body id.

    Attributes:
        frames: (T,) frame numbers, ascending.
        joints: (T, V, 3) metres.
    """

    frames: NDArray[np.int64]
    joints: NDArray[np.float32]

    @property
    def motion(self) -> float:
        """The variance over time, summed over axes and averaged over joints, square metres."""
        return float(self.joints.var(axis=0).sum(axis=-1).mean())

    @property
    def wide(self) -> float:
        """The share of frames in which the body is too wide for its height."""
        extent = np.ptp(self.joints, axis=1)
        return float((extent[:, 0] > _WIDEST * extent[:, 1]).mean())


def two_persons(tracks: list[Track]) -> tuple[NDArray[np.float32], dict[str, int]]:
    """Choose at most two persons and drop the frames that have neither.

    Args:
        tracks: at least one.

    Returns:
        (1 or 2, T, V, 3), the person who moves more first, zero where a person is absent; and what
        was decided, by the names of :data:`DECISIONS`, where anything was.
    """
    decisions = dict.fromkeys(DECISIONS, 0)
    kept = _denoise(tracks, decisions)
    ordered = kept
    if len(kept) > 1:
        ordered = sorted(kept, key=lambda track: track.motion, reverse=True)
    persons: list[list[Track]] = [[ordered[0]]]
    for track in ordered[1:]:
        gaps = {slot: _gap(person, track) for slot, person in enumerate(persons)}
        free = {slot: gap for slot, gap in gaps.items() if gap is not None}
        nearest = min(free, key=lambda slot: free[slot], default=None)
        if nearest is not None and (free[nearest] < _NEAR or len(persons) == 2):
            persons[nearest].append(track)
            decisions["tracks joined"] += 1
        elif len(persons) < 2:
            persons.append([track])
        else:
            decisions["third persons dropped"] += 1
    length = 1 + max(int(track.frames[-1]) for person in persons for track in person)
    joints = np.zeros((len(persons), length, *tracks[0].joints.shape[1:]), dtype=np.float32)
    there = np.zeros(length, dtype=bool)
    for slot, person in enumerate(persons):
        for track in person:
            joints[slot, track.frames] = track.joints
            there[track.frames] = True
    decisions["empty frames dropped"] = int(length - there.sum())
    shown = np.ascontiguousarray(joints[:, there])
    return shown, {name: count for name, count in decisions.items() if count}


def _denoise(tracks: list[Track], decisions: dict[str, int]) -> list[Track]:
    """Drop flicker and furniture, but never every track."""
    kept = tracks
    rules: tuple[tuple[str, Callable[[Track], bool]], ...] = (
        ("flickers dropped", lambda track: len(track.frames) < _SHORTEST),
        ("furniture dropped", lambda track: track.wide > _NOISY),
    )
    for name, noisy in rules:
        if len(kept) == 1:  # nothing to choose from
            break
        rest = [track for track in kept if not noisy(track)] or kept
        decisions[name] += len(kept) - len(rest)
        kept = rest
    return kept


def _gap(person: list[Track], track: Track) -> float | None:
    """Return how far a track is from a person at the smallest gap in time; None if they overlap."""
    best: tuple[int, float] | None = None
    first, last = track.frames[0], track.frames[-1]
    for other in person:
        if first > other.frames[-1]:
            pause, ends = first - other.frames[-1], (other.joints[-1], track.joints[0])
        elif last < other.frames[0]:
            pause, ends = other.frames[0] - last, (track.joints[-1], other.joints[0])
        elif np.intersect1d(other.frames, track.frames).size:
            return None
        else:
            pause, ends = 0, (other.joints.mean(axis=0), track.joints.mean(axis=0))
        distance = float(np.linalg.norm(ends[0].mean(axis=0) - ends[1].mean(axis=0)))
        if best is None or pause < best[0]:
            best = (int(pause), distance)
    return best[1] if best else None
