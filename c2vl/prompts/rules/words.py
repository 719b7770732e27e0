"""Graded words: a number to the phrase of its level."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Scale = tuple[tuple[float, ...], tuple[str, ...]]


def word(scale: Scale, value: float) -> str:
    """Return the phrase of a scale's level: bounds rise, one phrase more than bounds."""
    bounds, phrases = scale
    return phrases[bisect_right(bounds, value)]


HEIGHT: Scale = (
    (-0.9, -0.4, 0.1, 0.4, 0.75, 1.05, 1.35, 1.7, 2.1),
    (
        "near the floor",
        "at knee height",
        "down by the thigh",
        "at hip height",
        "at waist height",
        "at chest height",
        "at shoulder height",
        "at face height",
        "above the head",
        "high above the head",
    ),
)
FORWARD: Scale = (
    (-0.2, 0.25, 0.5, 0.75),
    ("behind the back", "", "in front", "reaching forward", "stretched far forward"),
)
OUTWARD: Scale = (
    (-0.35, -0.05, 0.2, 0.5, 0.75),
    (
        "far across the body on the other side",
        "across the middle of the body",
        "",
        "",
        "out to the side",
        "stretched wide to the side",
    ),
)
ELBOW: Scale = (
    (60, 90, 125, 150),
    ("folded tightly", "bent sharply", "bent", "slightly bent", "straight"),
)
PACE_OF_HAND: Scale = (
    (0.25, 0.7, 1.5, 3.0, 5.0),
    ("is still", "drifts", "moves gently", "moves", "sweeps fast", "is flung very fast"),
)
KNEE: Scale = (
    (85, 110, 135, 155, 167),
    (
        "knees folded in a deep crouch",
        "knees bent in a low squat",
        "knees well bent",
        "knees bent",
        "knees soft",
        "legs straight",
    ),
)
LOOPS: Scale = (
    (-0.55, -0.3, -0.12, 0.12, 0.3, 0.55),
    (
        "a full round counter-clockwise circle over the top to the left",
        "a counter-clockwise loop to the left",
        "a slightly counter-clockwise curve",
        "a line that goes back over itself",
        "a slightly clockwise curve",
        "a clockwise loop to the right",
        "a full round clockwise circle over the top to the right",
    ),
)
REACH: Scale = (
    (0.3, 0.5, 0.7, 0.85),
    ("hardly forward", "a little forward", "forward", "far forward", "fully stretched forward"),
)
WIDE: Scale = (
    (0.3, 0.5, 0.7, 0.9),
    ("close in", "beside the body", "out to the side", "wide out", "at full stretch sideways"),
)
PEAK: Scale = (
    (2.0, 3.5, 5.5, 8.0),
    ("slow throughout", "calm", "brisk", "fast", "explosive"),
)
REPEATS: Scale = (
    (1, 2, 3, 4, 6, 8),
    (
        "one single stroke",
        "a move there and back once",
        "two turns back",
        "three turns back",
        "repeated swinging",
        "many quick repetitions",
        "very many rapid repetitions",
    ),
)
RANGE: Scale = (
    (25, 50, 80, 110),
    ("stays as it is", "bends a little", "bends", "bends deeply", "folds and unfolds fully"),
)
SINK: Scale = (
    (0.05, 0.1, 0.2, 0.35),
    (
        "stands tall throughout",
        "dips a little",
        "dips and comes up again",
        "squats and stands up again",
        "squats deeply down and stands up again",
    ),
)
LEAN: Scale = (
    (6, 12, 22, 40),
    ("upright", "tipping slightly", "leaning forward", "bending forward", "bowing far down"),
)
TURN: Scale = (
    (-45, -25, -12, 12, 25, 45),
    (
        "turning far to the right",
        "turning to the right",
        "turning slightly to the right",
        "facing ahead",
        "turning slightly to the left",
        "turning to the left",
        "turning far to the left",
    ),
)
STEP: Scale = (
    (0.12, 0.25, 0.45),
    ("no step", "a small step", "a step", "a long lunge"),
)
ACROSS: Scale = (
    (-0.5, -0.25, 0.0),
    ("far over to the other side", "across the body", "to the middle", "never across"),
)
WHO: Scale = (
    (-1.5, -0.5, 0.5, 1.5, 2.7),
    (
        "the left hand works alone",
        "the left hand leads and the right helps",
        "both hands work together",
        "the right hand leads and the left helps",
        "the right hand works with the left nearly at rest",
        "the right hand works alone",
    ),
)
CIRCLES: Scale = (
    (0.0,),
    (
        "a full circle leftwards against the clock",
        "a full clockwise circle like a wheel rolling to the right",
    ),
)
CORNERS: Scale = (
    (1, 2, 3, 4),
    (
        "smooth and rounded",
        "with one sharp corner",
        "with two sharp corners",
        "angular with three sharp corners",
        "zigzag with many sharp corners",
    ),
)
PROFILE: Scale = (
    (-0.25, -0.1, 0.1, 0.25, 0.5),
    (
        "scooping underhand",
        "slightly scooping",
        "flat in profile",
        "slightly arched forward",
        "arching overhand",
        "swinging overhand over the shoulder",
    ),
)
ROOM: Scale = (
    (0.12, 0.25, 0.45, 0.7),
    ("barely", "a little", "moderately", "widely", "very widely"),
)
TEMPO: Scale = ((0.6, 1.2, 2.0, 3.0), ("unhurried", "steady", "lively", "rapid", "very rapid"))
PACE: Scale = ((1.3, 2.0, 2.7), ("strolling", "walking", "walking briskly", "jogging"))
COUNT: Scale = ((4, 6, 8), ("a few steps", "several steps", "many steps", "very many steps"))


def directions(step: NDArray[np.float64], least: float) -> str:
    """Word the main directions of a displacement (right, up, forward); empty if it is short."""
    size = float(np.linalg.norm(step))
    if size < least:
        return ""
    words = (("right", "left"), ("up", "down"), ("forward", "back"))
    order = np.argsort(-np.abs(step))
    return " and ".join(
        words[axis][0 if step[axis] > 0 else 1] for axis in order if abs(step[axis]) > 0.5 * size
    )
