"""Clauses on one window of time: one for each hand, one for legs and trunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.rules import words
from c2vl.prompts.rules.measures import Array, Body
from c2vl.prompts.rules.whole_motion import location, main_hand
from c2vl.prompts.rules.words import directions, phrase
from c2vl.skeletons.joint_names import SIDES

PHASES = ("At first", "Early on", "Midway", "Later on", "At last")
REST = "rests at the side"


def windows_of(energy: Array, windows: int) -> list[slice]:
    """Divide the moving part of a sequence into windows that overlap by half.

    The stillness before and after is left out: how long a person waits is no part of the motion,
    and so a window holds the same part of it for everybody.

    Args:
        energy: (T - 1,) movement between frames, from :func:`movement`.

    Returns:
        Slices of at least two frames (of one where the sequence has one).
    """
    if not len(energy):
        return [slice(0, 1)] * windows
    part = moving(energy)
    first, frames = part.start, part.stop - part.start
    slices = []
    for i in range(windows):
        centre, half = (i + 0.5) * frames / windows, frames / windows
        start = int(max(0, min(np.floor(centre - half), frames - 2)))
        stop = max(start + 2, int(min(np.ceil(centre + half), frames)))
        slices.append(slice(first + start, first + stop))
    return slices


def moving(energy: Array) -> slice:
    """Return the frames of the moving part, from the movement between frames, (T - 1,)."""
    frames = np.flatnonzero(energy >= 0.15 * energy.max())
    return slice(int(frames[0]), int(frames[-1]) + 2)


def movement(body: Body) -> Array:
    """Return the movement between frames, hands, feet and body summed, (T - 1,)."""
    parts: list[NDArray[np.float64]] = [*body.hand, *body.foot, body.place]
    return np.asarray(
        np.sum([np.linalg.norm(np.diff(part, axis=0), axis=-1) for part in parts], axis=0)
    )


def phase(i: int, windows: int) -> str:
    """Word the place of window ``i`` in the motion."""
    return PHASES[int(i / windows * len(PHASES))]


def moment(body: Body, w: slice) -> str:
    """Word a window; a resting second hand and plain standing go without saying."""
    main = main_hand(body)
    clauses = [hand(body, main, w)]
    other = hand(body, 1 - main, w)
    if not other.endswith(REST):
        clauses.append(other)
    legs = stance(body, w)
    return "; ".join([*clauses, legs] if legs else clauses)


def hand(body: Body, side: int, w: slice) -> str:
    """Word where a hand is in a window, and where it moves."""
    x = body.hand[side, w]
    place = x.mean(axis=0)
    speed = float(np.linalg.norm(x[1:] - x[:-1], axis=-1).sum()) * body.fps / max(len(x) - 1, 1)
    level = float(body.height[side, w].mean())
    name = f"the {SIDES[side]} hand"
    if speed < 0.5 and level < 0.3 and abs(place[2]) < 0.35:
        return f"{name} {REST}"
    motion = f"{phrase(words.PACE_OF_HAND, speed)} {directions(x[-1] - x[0], 0.08)}".strip()
    return f"{name} {motion}, {location(side, level, place)}"


def stance(body: Body, w: slice) -> str:
    """Word legs and trunk in a window; empty for plain standing."""
    clauses = []
    pelvis = body.pelvis[w]
    bent = float(body.knee[:, w].min(axis=0).mean())
    if bent < 155:
        clauses.append(phrase(words.KNEE, bent))
    sinking = float(pelvis[-1] - pelvis[0])
    if abs(sinking) > 0.03:
        clauses.append("the body rises" if sinking > 0 else "the body sinks")
    lean = float(body.lean[w, 1].mean())
    if lean > 15:
        clauses.append("bowing far down" if lean > 40 else "leaning forward")
    return ", ".join(clauses)
