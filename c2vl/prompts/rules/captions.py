"""Kinematic captions: readable sentences that rules write from the motion alone, without labels.

Each caption describes one of several overlapping windows of time: one phrase on the whole motion,
in turn, then what hands, legs and trunk do in the window. So the mean over a sequence's captions
holds both, and no caption lacks its context.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.rules.measures import Body, measure
from c2vl.prompts.rules.moments import moment, movement, phase, windows_of
from c2vl.prompts.rules.two_persons import distances, relation
from c2vl.prompts.rules.whole_motion import whole_motion
from c2vl.skeletons.layout import JointLayout

RULES = 5
"""Version of the rules: raise it whenever a caption of any motion changes."""

WINDOWS = 16
NOBODY = "Nobody is to be seen."


def captions(
    joints: NDArray[np.floating], layout: JointLayout, *, windows: int = WINDOWS, fps: float = 30
) -> list[str]:
    """Describe a sequence in ``windows`` captions, in order of time.

    Of two persons the one who moves more comes first, then they take turns, and each caption says
    how the two stand to each other.

    Args:
        joints: (M, T, V, 3) metres, y up; a body is exactly zero in frames in which it is absent.

    Raises:
        UserError: the layout lacks a joint that the rules need.
    """
    seen, bodies = measured(joints, layout, fps)
    if not seen:
        return [NOBODY] * windows
    order, slices = _divided(bodies, windows)
    wholes = [whole_motion(bodies[i]) for i in order]
    gap, touch = distances(seen[order[0]], seen[order[-1]], layout)
    written = []
    for i, w in enumerate(slices):
        turn = i % len(order)
        whole = wholes[turn][i // len(order) % len(wholes[turn])]
        who = "The other person: " if turn else ""
        text = whole if turn else whole[0].upper() + whole[1:]
        now = moment(bodies[order[turn]], w)
        if len(order) > 1:
            now = f"{now}; {relation(gap, touch, w)}"
        written.append(f"{who}{text}. {phase(i, windows)}, {now}.")
    return written


def caption_windows(
    joints: NDArray[np.floating], layout: JointLayout, *, windows: int = WINDOWS, fps: float = 30
) -> list[slice]:
    """Return the frames that each of :func:`captions` is about; they overlap."""
    _, bodies = measured(joints, layout, fps)
    return _divided(bodies, windows)[1] if bodies else [slice(0, joints.shape[1])] * windows


def measured(
    joints: NDArray[np.floating], layout: JointLayout, fps: float
) -> tuple[list[NDArray[np.float64]], list[Body]]:
    """Return the bodies that are there, (T, V, 3) each, and their measures."""
    if joints.shape[1] == 1:  # one frame is a posture that is held
        joints = np.repeat(joints, 2, axis=1)
    seen = [np.asarray(body, dtype=np.float64) for body in joints if np.any(body)]
    return seen, [measure(body, layout, fps) for body in seen]


def _divided(bodies: list[Body], windows: int) -> tuple[list[int], list[slice]]:
    """Return the two bodies that move most, in that order, and the windows of their motion."""
    energies = [movement(body) for body in bodies]
    order = sorted(range(len(bodies)), key=lambda i: -float(energies[i].sum()))[:2]
    return order, windows_of(np.sum([energies[i] for i in order], axis=0), windows)
