"""Two persons: how far apart, closing in or parting, and whether a hand touches the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.rules.measures import Array, roles
from c2vl.prompts.rules.words import grades, phrase
from c2vl.skeletons.joint_names import SIDES
from c2vl.skeletons.layout import JointLayout

APART = grades(
    "body against body <0.35> very close together <0.7> close together <1.1> an arm's length "
    "apart <1.6> a step apart <2.3> far apart"
)
CLOSING = grades(
    "coming quickly nearer <-0.12> coming nearer <-0.04> keeping their distance <0.04> parting "
    "<0.12> parting fast"
)
TOUCH = grades(
    "a hand touches the other person <0.12> a hand almost reaches the other person <0.25> <0.45>"
)


def distances(first: Array, second: Array, layout: JointLayout) -> tuple[Array, Array]:
    """Measure two bodies against each other.

    Args:
        first: (T, V, 3) metres; exactly zero where the body is absent.

    Returns:
        The pelvis distance on the ground and the shortest distance of a hand of either to the other
        one's joints, both (T,) metres; NaN in frames that lack one of them.
    """
    role = roles(layout)
    both = np.any(first != 0, axis=(1, 2)) & np.any(second != 0, axis=(1, 2))
    ground = (first - second)[:, list(role["pelvis"])].mean(1)[:, [0, 2]]
    hands = [role[f"{side}_hand"][0] for side in SIDES]
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
    clauses = [
        f"the two are {phrase(APART, float(near.mean()))}",
        phrase(CLOSING, float(near[-1] - near[0])),
        phrase(TOUCH, float(touch[w][seen].min())),
    ]
    return ", ".join(text for text in clauses if text)
