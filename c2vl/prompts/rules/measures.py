"""Measures of a body's motion in its own frame: heights between landmarks, reach in arm lengths.

Positions are rotated into the frame of the body (right, up, forward) and divided by its size, so
that neither the camera's heading nor the subject's size and place changes a measure. Shapes: T
frames, V joints; arrays of hands have one row a side, left then right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.joint_names import SIDES
from c2vl.skeletons.joint_names import roles as roles_of
from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError

Array = NDArray[np.float64]

LANDMARKS = {
    "the head": 0.42,
    "the chest": 0.4,
    "its own shoulder": 0.4,
    "the opposite shoulder": 0.4,
    "the opposite elbow": 0.35,
    "the opposite hip": 0.35,
    "a knee": 0.4,
    "a foot": 0.45,
    "the other hand": 0.3,
}
"""What a hand may touch, and within how many arm lengths of its middle a hand is taken to."""

_SMOOTH = 0.05  # seconds, Gaussian: a Kinect's jitter is faster than a limb


@dataclass(frozen=True)
class Body:
    """One body's motion in its own frame; lengths in torso lengths unless said otherwise.

    Attributes:
        present: (T,) the sensor saw the body.
        hand: (2, T, 3) from the chest: right, up, forward, in arm lengths.
        height: (2, T) of the hands: 0 at the hips, 1 at the shoulders, about 1.5 at the face.
        elbow: (2, T) angle, degrees; 180 is a straight arm.
        knee: (2, T) angle, degrees.
        foot: (2, T, 3) ankles from the pelvis, in leg lengths.
        pelvis: (T,) height above the lower ankle over leg length; about 0.95 in standing.
        place: (T, 3) the pelvis in the axes of the first frames, in leg lengths.
        lean: (T, 2) of the trunk: to the right, forward; degrees from upright.
        turn: (T,) heading of the shoulder line against the first frames, degrees, left positive.
        twist: (T,) shoulder line against the hip line, degrees, left positive.
        head: (T, 3) from the chest, in torso lengths.
        elbow_at: (2, T, 3) from the chest: right, up, forward, in arm lengths.
        gaps: (landmarks, 2, T) from each hand to each of :data:`LANDMARKS`, in arm lengths.
    """

    present: NDArray[np.bool_]
    hand: Array
    height: Array
    elbow: Array
    knee: Array
    foot: Array
    pelvis: Array
    place: Array
    lean: Array
    turn: Array
    twist: Array
    head: Array
    elbow_at: Array
    gaps: Array
    fps: float


def roles(layout: JointLayout) -> dict[str, tuple[int, ...]]:
    """Return the joints of each role (:func:`.joint_names.roles`); their mean is its place.

    Raises:
        UserError: the layout lacks joints; it names all of them.
    """
    found, lacking = roles_of(layout.joints)
    if lacking:
        raise UserError(
            f"layout {layout.name}: kinematic captions need {', '.join(lacking)}, and no joint has "
            "such a name (docs/datasets.md lists the names that are known)"
        )
    return found


def measure(joints: Array, layout: JointLayout, fps: float) -> Body:
    """Measure one body.

    Args:
        joints: (T, V, 3) metres, y up; exactly zero where the body is absent.
    """
    role = roles(layout)
    present = np.any(joints != 0, axis=(1, 2))
    if not present.any():
        raise ValueError("the body is absent throughout")
    x = _smooth(_filled(joints.astype(np.float64), present), _SMOOTH * fps)
    at = {name: x[:, list(places)].mean(1) for name, places in role.items()}
    across = at["right_shoulder"] - at["left_shoulder"]
    hips = at["right_hip"] - at["left_hip"]
    heading = _heading(across + hips)
    first = max(1, round(0.12 * len(x)))
    start = float(np.angle(np.mean(np.exp(1j * heading[:first]))))
    torso = _typical(at["chest"] - at["pelvis"])
    arm = _chain(at, "shoulder", "elbow", "wrist")
    leg = _chain(at, "hip", "knee", "ankle")
    hands = np.stack([(at[f"{s}_hand"] + at[f"{s}_wrist"]) / 2 for s in SIDES])
    feet = np.stack([at[f"{s}_ankle"] for s in SIDES])
    slow = _slow(heading, fps)
    chest, pelvis = at["chest"], at["pelvis"]
    trunk = _turned(chest - pelvis, slow)
    level = (hands[..., 1] - pelvis[:, 1]) / torso
    return Body(
        present=present,
        hand=_turned(hands - chest, slow) / arm,
        height=level,
        elbow=np.stack([_angle(at, s, "shoulder", "elbow", "wrist") for s in SIDES]),
        knee=np.stack([_angle(at, s, "hip", "knee", "ankle") for s in SIDES]),
        foot=_turned(feet - pelvis, slow) / leg,
        pelvis=(pelvis[:, 1] - feet[..., 1].min(axis=0)) / leg,
        place=_turned(pelvis - pelvis[:first].mean(axis=0), np.full(len(x), start)) / leg,
        lean=np.degrees(np.arctan2(trunk[:, [0, 2]], np.maximum(trunk[:, [1]], 1e-6))),
        turn=np.degrees(_wrapped(_heading(across) - start)),
        twist=np.degrees(_wrapped(_heading(across) - _heading(hips))),
        head=_turned(at["head"] - chest, slow) / torso,
        elbow_at=_turned(np.stack([at[f"{s}_elbow"] for s in SIDES]) - chest, slow) / arm,
        gaps=_gaps(at, hands) / arm,
        fps=fps,
    )


def _gaps(at: dict[str, Array], hands: Array) -> Array:
    """Return the distances of the hands (2, T, 3) to :data:`LANDMARKS`, (landmarks, 2, T)."""

    def own(joint: str) -> Array:
        return np.stack([at[f"{side}_{joint}"] for side in SIDES])

    def apart(places: Array) -> Array:
        return np.asarray(np.linalg.norm(hands - places, axis=-1))

    def either(joint: str) -> Array:
        return np.minimum(apart(own(joint)), apart(own(joint)[::-1]))

    return np.stack(
        [
            apart(at["head"]),
            apart(at["chest"]),
            apart(own("shoulder")),
            apart(own("shoulder")[::-1]),
            apart(own("elbow")[::-1]),
            apart(own("hip")[::-1]),
            either("knee"),
            either("ankle"),
            apart(hands[::-1]),
        ]
    )


def _filled(x: Array, present: NDArray[np.bool_]) -> Array:
    """Fill absent frames linearly from the nearest seen ones."""
    if present.all():
        return x
    seen = np.flatnonzero(present)
    where = np.interp(np.arange(len(x)), seen, np.arange(len(seen)))
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, len(seen) - 1)
    share = (where - low)[:, None, None]
    return np.asarray((1 - share) * x[seen[low]] + share * x[seen[high]])


def _smooth(x: Array, sigma: float) -> Array:
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(x, max(sigma, 1e-3), axis=0, mode="nearest"))


def _heading(across: Array) -> Array:
    """Return the heading of a left-to-right line, radians; turning left is positive."""
    return np.asarray(np.arctan2(-across[:, 2], across[:, 0]))


def _slow(heading: Array, fps: float) -> Array:
    """Return the heading of the whole body, smoothed over a second."""
    line = np.exp(1j * heading)
    smooth = _smooth(line.real, fps) + 1j * _smooth(line.imag, fps)
    return np.asarray(np.angle(smooth))


def _turned(x: Array, heading: Array) -> Array:
    """Rotate camera axes (…, T, 3) into the body's: right, up, forward."""
    cos, sin = np.cos(heading), np.sin(heading)
    right = x[..., 0] * cos - x[..., 2] * sin
    back = x[..., 0] * sin + x[..., 2] * cos
    return np.stack([right, x[..., 1], -back], axis=-1)


def _typical(x: Array) -> float:
    return float(max(np.median(np.linalg.norm(x, axis=-1)), 1e-3))


def _chain(at: dict[str, Array], upper: str, middle: str, lower: str) -> float:
    """Return the length of a limb, the mean of both sides."""
    lengths = [
        _typical(at[f"{s}_{a}"] - at[f"{s}_{b}"])
        for s in SIDES
        for a, b in ((upper, middle), (middle, lower))
    ]
    return sum(lengths) / 2


def _angle(at: dict[str, Array], side: str, upper: str, middle: str, lower: str) -> Array:
    a = at[f"{side}_{upper}"] - at[f"{side}_{middle}"]
    b = at[f"{side}_{lower}"] - at[f"{side}_{middle}"]
    size = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosine = np.einsum("tc,tc->t", a, b) / np.maximum(size, 1e-9)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _wrapped(angle: Array) -> Array:
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)
