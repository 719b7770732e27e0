"""Kinematic captions: readable sentences written by rules from the motion alone. No label enters.

A sequence is told in overlapping windows of time, one sentence each: what hands, legs and trunk do
there, and, in turn, what the motion is as a whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.gist import gist
from c2vl.prompts.measures import Body, measure
from c2vl.prompts.words import ELBOW, FORWARD, HEIGHT, KNEE, OUTWARD, SPEED, word
from c2vl.skeletons.layout import JointLayout

RULES = 1
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
    return [_sentence(body, i, windows, whole[i % len(whole)]) for i in range(windows)]


def _sentence(body: Body, i: int, windows: int, whole: str) -> str:
    t = len(body.pelvis)
    lo = int(i / windows * t)
    hi = max(lo + 2, int(np.ceil((i + 1) / windows * t)))
    lo = min(lo, t - 2)
    w = slice(lo, hi)
    phase = ("At the start", "Early on", "Midway", "Later", "At the end")[int(i / windows * 5)]
    parts = []
    for h, side in ((1, "right"), (0, "left")):
        pos = body.hand[h, w].mean(0)
        out = pos[0] * (1 if h else -1)
        v = np.gradient(body.hand[h], axis=0)[w].mean(0) * body.fps
        sp = float(np.linalg.norm(v))
        d = direction(v) if sp > 0.7 else ""
        words = [word(HEIGHT, body.height[h, w].mean()), word(FORWARD, pos[2]), word(OUTWARD, out)]
        place = ", ".join(x for x in words if x)
        parts.append(
            f"the {side} hand {word(SPEED, sp)}{' ' + d if d else ''} {place}, "
            f"elbow {word(ELBOW, body.elbow[h, w].mean())}"
        )
    legs = word(KNEE, body.knee[:, w].mean())
    return f"{phase} {parts[0]}; {parts[1]}; {legs}. Overall, {whole}."


def direction(v: NDArray[np.float64]) -> str:
    n = v / (np.linalg.norm(v) + 1e-9)
    words = []
    for value, plus, minus in ((n[1], "up", "down"), (n[0], "to the right", "to the left"), (n[2], "forward", "back")):
        if abs(value) > 0.45:
            words.append(plus if value > 0 else minus)
    return " and ".join(words)
