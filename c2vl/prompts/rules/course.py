"""The course of a motion: where hands and body are when, how often a hand moves and how fast.

A course is told of ``w``, the moving part of the sequence (:func:`.moments.moving`), so that
waiting before and after does not count. Shapes: T frames.
"""

from __future__ import annotations

import numpy as np

from c2vl.prompts.rules import words
from c2vl.prompts.rules.measures import Array, Body
from c2vl.prompts.rules.whole_motion import reversals
from c2vl.prompts.rules.words import count, phrase
from c2vl.skeletons.joint_names import SIDES

STAGES = ((0.08, "at the start"), (0.5, "in the middle"), (0.92, "at the end"))


def stages(body: Body, main: int, w: slice) -> list[str]:
    """Word where both hands are at three points of the motion, a sentence each."""
    frames = w.stop - w.start
    half = max(1, int(frames * 0.08))
    said = []
    for share, when in STAGES:
        centre = int(w.start + share * (frames - 1))
        at = slice(max(w.start, centre - half), min(w.stop, centre + half + 1))
        first, second = (_place(body, side, at) for side in (main, 1 - main))
        if first == second:
            said.append(f"{when} both hands are {first}.")
        else:
            one, other = SIDES[main], SIDES[1 - main]
            said.append(f"{when} the {one} hand is {first}; the {other} hand is {second}.")
    return said


def _place(body: Body, side: int, at: slice) -> str:
    x = body.hand[side, at].mean(axis=0)
    parts = (
        phrase(words.LEVEL, float(body.height[side, at].mean())),
        phrase(words.ASIDE, float(x[0]) * (1 if side else -1)),
        phrase(words.AHEAD, float(x[2])),
    )
    return ", ".join(part for part in parts if part)


def _thirds(values: Array) -> list[float]:
    """Return the means at the start, in the middle and at the end of a signal (T,)."""
    part, middle = max(1, len(values) // 8), len(values) // 2
    spans = (slice(0, part), slice(max(0, middle - part // 2), middle + part // 2 + 1))
    return [float(values[span].mean()) for span in (*spans, slice(len(values) - part, None))]


def knees(body: Body, w: slice) -> str:
    """Word how far the knees are bent at the start, in the middle and at the end."""
    bent = _thirds(body.knee[:, w].min(axis=0))
    return f"the knees are {', then '.join(phrase(words.BENT, angle) for angle in bent)}."


def level(body: Body, w: slice) -> str:
    """Word whether the body sits or stands at the start and at the end, and goes down between."""
    pelvis = body.pelvis[w]
    start, _, end = _thirds(pelvis)
    low = float(pelvis.min())
    dip = min(start, end) - low
    between = "" if dip < 0.08 else f", goes {phrase(words.DEPTH, low)} in between"
    first, last = phrase(words.STAND, start), phrase(words.STAND, end)
    return f"the body {first} at the start{between} and {last} at the end."


def hands_apart(body: Body, w: slice) -> str:
    """Word how far apart the hands are at the start, in the middle and at the end, and at least."""
    apart = np.linalg.norm(body.hand[0, w] - body.hand[1, w], axis=-1)
    start, middle, end = (phrase(words.HANDS_APART, gap) for gap in _thirds(apart))
    times = (reversals(apart, 0.25) + 1) // 2
    closing = f", coming together {count(times, 'time')}" if times else ""
    least = phrase(words.HANDS_APART, float(apart.min()))
    return (
        f"the hands are {start} at first, {middle} in the middle, {end} at the end; "
        f"at the closest {least}{closing}."
    )


def repetition(body: Body, side: int, w: slice) -> str:
    """Word how often a hand repeats its movement."""
    x = body.hand[side, w]
    if np.ptp(x, axis=0).max() < 0.15:
        return f"the {SIDES[side]} hand repeats nothing."
    turns = max(reversals(along, max(0.1, 0.3 * float(np.ptp(along)))) for along in x.T)
    if turns <= 1:
        return f"the {SIDES[side]} hand makes a single movement without repetition."
    return f"the {SIDES[side]} hand repeats its movement {count((turns + 1) // 2, 'time')}."


def speed(body: Body, side: int, w: slice) -> str:
    """Word how fast a hand is, when most, how suddenly, and how long the motion lasts."""
    x = body.hand[side, w]
    v = np.linalg.norm(np.diff(x, axis=0), axis=-1) * body.fps
    if not len(v) or not v.any():
        return "nothing moves."
    middle = float(v @ np.arange(len(v))) / float(v.sum()) / len(v)
    peak, lasting = float(v.max()), len(v) / body.fps
    return (
        f"the {SIDES[side]} hand is {phrase(words.PEAK, peak)}, "
        f"{phrase(words.BURST, peak / float(v.mean()))}, strongest {phrase(words.WHEN, middle)}; "
        f"the motion lasts {phrase(words.LASTING, lasting)}."
    )
