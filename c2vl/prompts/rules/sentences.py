"""The richer rules: sentences on the whole motion, each about one matter.

Each is a general statement on how a body moves: none was written for a class of any dataset, and
none reads a label. Each stands alone, since a sentence encoder tells two captions apart by what
differs in them only where little else is said (docs/evidence.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.rules import course, hand_paths, relations, whole_motion
from c2vl.prompts.rules.captions import NOBODY, measured
from c2vl.prompts.rules.measures import Body
from c2vl.prompts.rules.moments import movement, moving
from c2vl.prompts.rules.two_persons import distances, relation
from c2vl.skeletons.layout import JointLayout

SENTENCES = {
    "whole": 9,
    "stages": 3,
    "postures": 2,
    "repetition": 2,
    "speed": 1,
    "strokes": 8,
    "profile": 4,
    "figure": 1,
    "contact": 2,
    "symmetry": 2,
    "reach": 2,
    "trunk": 1,
    "feet": 2,
}
"""How many sentences each rule writes, in their order."""

PARTNER = {"partner": 6}
"""What is added where a dataset shows two persons."""


def sentences(
    joints: NDArray[np.floating], layout: JointLayout, *, fps: float = 30, partner: bool = False
) -> list[str]:
    """Describe a sequence in one sentence for each place of :data:`SENTENCES`.

    Of two persons the one who moves more is described.

    Args:
        joints: (M, T, V, 3) metres, y up; a body is exactly zero in frames in which it is absent.
        partner: add what :data:`PARTNER` names: how two persons stand to each other and what the
            other one does, or that there is none.

    Raises:
        UserError: the layout lacks a joint that the rules need.
    """
    number = sum(SENTENCES.values())
    more = PARTNER["partner"] if partner else 0
    seen, bodies = measured(joints, layout, fps)
    if not seen:
        return [NOBODY] * (number + more)
    order = sorted(range(len(bodies)), key=lambda i: -float(movement(bodies[i]).sum()))[:2]
    said = [text for texts in _told(bodies[order[0]]).values() for text in texts]
    if partner and len(order) == 1:
        said += ["nobody else is to be seen."] * more
    elif partner:
        gap, touch = distances(seen[order[0]], seen[order[1]], layout)
        parts = np.linspace(0, len(gap), 4).round().astype(int)
        said += [
            f"{when} {relation(gap, touch, slice(start, max(stop, start + 1)))}."
            for (_, when), start, stop in zip(course.STAGES, parts, parts[1:], strict=False)
        ]
        other = _told(bodies[order[1]])
        chosen = (other["stages"][1], other["symmetry"][0], other["feet"][0])
        said += [f"the other person: {text}" for text in chosen]
    return [text[0].upper() + text[1:] for text in said]


def _told(body: Body) -> dict[str, list[str]]:
    """Return the sentences of each rule; of those for each hand the busier hand's come first."""
    main = whole_motion.main_hand(body)
    hands = (main, 1 - main)
    w = moving(movement(body))
    return {
        "whole": [
            f"{clause}."
            for clause in (
                hand_paths.path(body, main),
                whole_motion.reach(body, main),
                whole_motion.turning(body, main),
                whole_motion.rhythm(body, main),
                whole_motion.meeting(body),
                whole_motion.legs(body),
                whole_motion.region(body, main),
                whole_motion.elbows(body, main),
                whole_motion.posture(body),
            )
        ],
        "stages": course.stages(body, main, w),
        "postures": [course.knees(body, w), course.level(body, w)],
        "repetition": [course.repetition(body, side, w) for side in hands],
        "speed": [course.speed(body, main, w)],
        "strokes": [text for side in hands for text in hand_paths.strokes(body, side)],
        "profile": hand_paths.profile(body, main),
        "figure": [hand_paths.figure(body, main)],
        "contact": [relations.contact(body, main, w), course.hands_apart(body, w)],
        "symmetry": [relations.arms(body, w), relations.legs(body, w)],
        "reach": [relations.plane(body, main), relations.forearm(body, main)],
        "trunk": [relations.trunk(body, w)],
        "feet": [relations.feet(body, main, w), relations.travel(body)],
    }
