"""Graded words: a number to the phrase of its level."""

from __future__ import annotations

from bisect import bisect_right

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
        "at its own side",
        "out to the side",
        "stretched wide to the side",
    ),
)
ELBOW: Scale = (
    (60, 90, 125, 150),
    ("folded tightly", "bent sharply", "bent", "slightly bent", "straight"),
)
SPEED: Scale = (
    (0.25, 0.7, 1.5, 3.0, 5.0),
    ("still", "drifting slowly", "moving gently", "moving", "sweeping fast", "thrown very fast"),
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
