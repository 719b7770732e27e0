"""Two persons: how far apart, closing in or parting, and whether a hand touches the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.rules.measures import SIDES, Array, roles
from c2vl.prompts.rules.words import Scale, word
from c2vl.skeletons.layout import JointLayout

APART: Scale = (
    (0.35, 0.7, 1.1, 1.6, 2.3),
    (
        "body against body",
        "very close together",
        "close together",
        "an arm's length apart",
        "a step apart",
        "far apart",
    ),
)
CLOSING: Scale = (
    (-0.12, -0.04, 0.04, 0.12),
    ("coming quickly nearer", "coming nearer", "keeping their distance", "parting", "parting fast"),
)
TOUCH: Scale = (
    (0.12, 0.25, 0.45),
    ("a hand touches the other person", "a hand almost reaches the other person", "", ""),
)


def distances(first: Array, second: Array, layout: JointLayout) -> tuple[Array, Array]:
    """Measure two bodies against each other.

    Args:
        first: (T, V, 3) metres; exactly zero where the body is absent.
        second: the same.
        layout: which joint is which.

    Returns:
        The pelvis distance on the ground and the shortest distance of a hand of either to the other
        one's joints, both (T,) metres; NaN in frames that lack one of them.
    """
    role = roles(layout)
    both = np.any(first != 0, axis=(1, 2)) & np.any(second != 0, axis=(1, 2))
    ground = (first - second)[:, role["pelvis"]][:, [0, 2]]
    hands = [role[f"{side}_hand"] for side in SIDES]
    touch = np.full(len(first), np.inf)
    for one, other in ((first, second), (second, first)):
        gaps = np.linalg.norm(one[:, hands, None] - other[:, None], axis=-1)
        touch = np.minimum(touch, gaps.min(axis=(1, 2)))
    gap = np.linalg.norm(ground, axis=-1)
    return np.where(both, gap, np.nan), np.where(both, touch, np.nan)


def relation(gap: Array, touch: Array, w: slice) -> str:
    """Word what two bodies are to each other in a window."""
    seen: NDArray[np.bool_] = np.isfinite(gap[w])
    if not seen.any():
        return "one of the two is out of sight"
    near = gap[w][seen]
    told = [
        f"the two are {word(APART, float(near.mean()))}",
        word(CLOSING, float(near[-1] - near[0])),
        word(TOUCH, float(touch[w][seen].min())),
    ]
    return ", ".join(phrase for phrase in told if phrase)
