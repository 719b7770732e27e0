"""Kinematic captions: readable sentences written by rules from the motion alone. No label enters.

A sequence is told in overlapping windows of time, one sentence each: what hands, legs and trunk do
there, and, in turn, what the motion is as a whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.gist import gist, main_hand
from c2vl.prompts.measures import SIDES, Body, measure
from c2vl.prompts.words import FORWARD, HEIGHT, KNEE, OUTWARD, SPEED, directions, word
from c2vl.skeletons.layout import JointLayout

RULES = 3
"""Version of the rules: raise it whenever a caption of any motion changes."""

WINDOWS = 16


def captions(
    joints: NDArray[np.floating], layout: JointLayout, *, windows: int = WINDOWS, fps: float = 30
) -> list[str]:
    """Describe a sequence in ``windows`` sentences, in order of time.

    Args:
        joints: (M, T, V, 3) metres, y up; a body is exactly zero in frames in which it is absent.
        layout: which joint is which.
        windows: sentences wanted.
        fps: frames a second.
    """
    seen = [body for body in np.asarray(joints) if np.any(body)]
    if not seen:
        return ["Nobody is to be seen."] * windows
    bodies = [measure(body, layout, fps) for body in seen]
    body = bodies[0]
    whole = gist(body)
    return [
        _sentence(body, w, i, windows, whole[i % len(whole)])
        for i, w in enumerate(window_slices(body, windows))
    ]


def _sentence(body: Body, w: slice, i: int, windows: int, whole: str) -> str:
    phase = PHASES[min(len(PHASES) - 1, int(i / windows * len(PHASES)))]
    main = main_hand(body)
    now = [hand(body, main, w)]
    other = hand(body, 1 - main, w)
    if not other.endswith(REST):
        now.append(other)
    legs = stance(body, w)
    return f"{whole[0].upper()}{whole[1:]}. {phase}, {'; '.join([*now, legs] if legs else now)}."


PHASES = ("At first", "Early on", "Midway", "Later on", "At last")
REST = "rests at the side"


def window_slices(body: Body, windows: int) -> list[slice]:
    """Frames of each window; neighbours overlap by half. Stillness before and after is left out."""
    energy = movement(body)
    moving = np.flatnonzero(energy > 0.15 * energy.max())
    first, last = int(moving[0]), int(moving[-1]) + 2
    frames = max(last - first, 2)
    slices = []
    for i in range(windows):
        centre, half = (i + 0.5) * frames / windows, frames / windows
        start = int(max(0, min(np.floor(centre - half), frames - 2)))
        stop = max(start + 2, int(min(np.ceil(centre + half), frames)))
        slices.append(slice(first + start, first + stop))
    return slices


def movement(body: Body) -> NDArray[np.float64]:
    """How much moves between frames: hands and feet against the trunk, and the body, (T-1,)."""
    parts = [*body.hand, *body.foot, body.place]
    speeds = [np.linalg.norm(np.diff(part, axis=0), axis=-1) for part in parts]
    return np.sum(speeds, axis=0)


def hand(body: Body, side: int, w: slice) -> str:
    """Where a hand is in a window, and what it does there."""
    x = body.hand[side, w]
    place = x.mean(axis=0)
    moved = x[-1] - x[0]
    speed = float(np.linalg.norm(np.diff(x, axis=0), axis=-1).mean()) * body.fps
    level = float(body.height[side, w].mean())
    name = f"the {SIDES[side]} hand"
    if speed < 0.5 and level < 0.3 and abs(place[2]) < 0.35:
        return f"{name} {REST}"
    where = [word(HEIGHT, level), word(OUTWARD, float(place[0]) * (1 if side else -1))]
    where.append(word(FORWARD, float(place[2])))
    told = f"{word(SPEED, speed)} {directions(moved, 0.08)}".strip()
    return f"{name} is {told}, {', '.join(x for x in where if x)}"


def stance(body: Body, w: slice) -> str:
    """Legs and trunk in a window; empty when simply standing."""
    told = []
    pelvis = body.pelvis[w]
    bent = float(body.knee[:, w].min(axis=0).mean())
    if bent < 155:
        told.append(word(KNEE, bent))
    sinking = float(pelvis[-1] - pelvis[0])
    if abs(sinking) > 0.03:
        told.append("the body rises" if sinking > 0 else "the body sinks")
    lean = float(body.lean[w, 1].mean())
    if lean > 15:
        told.append("bowing far down" if lean > 40 else "leaning forward")
    return ", ".join(told)
