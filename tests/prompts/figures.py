"""A stick figure that moves on command: captions can be checked against what it did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout

FRAMES = 60
_REST = {  # right, up, back of a person who faces the camera, metres
    "head": (0, 0.55, 0),
    "neck": (0, 0.4, 0),
    "chest": (0, 0.3, 0),
    "spine": (0, 0.0, 0),
    "pelvis": (0, -0.15, 0),
    "shoulder": (0.18, 0.25, 0),
    "elbow": (0.22, 0.0, 0),
    "wrist": (0.24, -0.22, 0),
    "hand": (0.24, -0.3, 0),
    "hip": (0.1, -0.2, 0),
    "knee": (0.11, -0.6, -0.01),
    "ankle": (0.12, -1.0, 0),
    "foot": (0.12, -1.05, -0.1),
}
_ALIASES = {
    "shoulder_center": "chest",
    "spine_shoulder": "chest",
    "spine_mid": "spine",
    "hip_center": "pelvis",
    "spine_base": "pelvis",
    "hand_tip": "hand",
    "thumb": "hand",
}


def standing(layout: JointLayout, frames: int = FRAMES) -> NDArray[np.float32]:
    """A person (1, T, V, 3) standing still three metres before the camera."""
    joints = np.zeros((1, frames, len(layout.joints), 3), dtype=np.float32)
    for number, name in enumerate(layout.joints):
        side, _, part = name.partition("_")
        if side not in ("left", "right"):
            side, part = "", name
        x, y, z = _REST[_ALIASES.get(part, part)]
        joints[0, :, number] = (-x if side == "left" else x, y, z + 3)
    return joints


def with_hand(layout: JointLayout, side: str, path: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move a hand along ``path`` (T, 3), metres from the chest: right, up, forward."""
    joints = standing(layout, len(path))
    chest = np.array([0, 0.3, 3])
    shoulder = joints[0, :, layout.joints.index(f"{side}_shoulder")]
    target = chest + path * [1, 1, -1]
    for number, name in enumerate(layout.joints):
        if name.startswith(side) and name.endswith(("wrist", "hand", "tip", "thumb")):
            joints[0, :, number] = target
        if name == f"{side}_elbow":
            joints[0, :, number] = (shoulder + target) / 2 - [0, 0.08, 0]
    return joints


def raising(layout: JointLayout, side: str) -> NDArray[np.float32]:
    """One hand goes from the thigh to above the head."""
    way = np.linspace(0, 1, FRAMES)[:, None]
    sign = 1 if side == "right" else -1
    low, high = np.array([0.24 * sign, -0.6, 0.0]), np.array([0.24 * sign, 0.5, 0.1])
    return with_hand(layout, side, low + (high - low) * way)


def circling(layout: JointLayout, turns: float) -> NDArray[np.float32]:
    """The right hand draws a circle in front, clockwise as the person sees it for turns > 0."""
    angle = np.linspace(0, 2 * np.pi * turns, FRAMES)
    path = np.stack(
        [0.2 + 0.25 * np.sin(angle), 0.25 * np.cos(angle), np.full(FRAMES, 0.4)], axis=1
    )
    return with_hand(layout, "right", path)


def squatting(layout: JointLayout) -> NDArray[np.float32]:
    """Down and up again."""
    joints = standing(layout)
    depth = 0.4 * np.sin(np.linspace(0, np.pi, FRAMES))
    for number, name in enumerate(layout.joints):
        if not name.endswith(("ankle", "foot")):
            joints[0, :, number, 1] -= depth * (0.5 if name.endswith("knee") else 1)
        if name.endswith("knee"):
            joints[0, :, number, 2] -= depth * 0.8
    return joints
