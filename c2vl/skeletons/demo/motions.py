"""The actions of the demo set: how the joints of a simple human body turn over time.

Each action is a function of two curves: ``on``, which rises from 0 to 1 when the action begins and
falls when it ends, and ``phase``, which runs through its cycles in radians. Angles are radians;
the body faces -z with y up and its right at +x. Positive x lifts a limb forwards, positive z lifts
the right arm sideways (negative z the left one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Angle = Curve | float

# fmt: off
PARTS = (
    "pelvis", "spine", "neck", "left_shoulder", "left_elbow", "right_shoulder", "right_elbow",
    "left_hip", "left_knee", "right_hip", "right_knee",
)
# fmt: on
_MIRRORED = [
    PARTS.index(
        part.replace("left", "right") if part.startswith("left") else part.replace("right", "left")
    )
    for part in PARTS
]


@dataclass
class Pose:
    """A body's angles and place over T frames.

    Attributes:
        angles: (T, parts, 3) Euler angles about x, y, z.
        place: (T, 3) displacement of the whole body, metres.
    """

    angles: Curve
    place: Curve = field(repr=False)

    @classmethod
    def standing(cls, frames: int) -> Pose:
        """Return an upright pose with hanging arms."""
        return cls(np.zeros((frames, len(PARTS), 3)), np.zeros((frames, 3)))

    def turn(self, part: str, x: Angle = 0.0, y: Angle = 0.0, z: Angle = 0.0) -> None:
        """Add angles (curves or numbers) to a part."""
        for axis, curve in enumerate((x, y, z)):
            self.angles[:, PARTS.index(part), axis] += curve

    def both(self, part: str, x: Angle = 0.0, z: Angle = 0.0) -> None:
        """Add the same angles to the right and, mirrored, to the left part."""
        self.turn(f"right_{part}", x=x, z=z)
        self.turn(f"left_{part}", x=x, z=-1.0 * z)

    def mirrored(self) -> Pose:
        """Return the pose with left and right exchanged."""
        angles = self.angles[:, _MIRRORED] * np.array([1.0, -1.0, -1.0])
        return Pose(angles, self.place * np.array([-1.0, 1.0, 1.0]))


def _up(phase: Curve) -> Curve:
    """Rise from 0 to 1 and fall again once a cycle."""
    return (1 - np.cos(phase)) / 2


def _peak(phase: Curve, at: float, width: float = 0.13) -> Curve:
    """Rise to 1 and fall once a cycle, at a share of it."""
    away = (phase / (2 * np.pi) - at + 0.5) % 1 - 0.5
    return np.exp(-0.5 * (away / width) ** 2)


def _wave(pose: Pose, on: Curve, phase: Curve) -> None:
    pose.turn("right_shoulder", x=0.3 * on, z=1.3 * on)
    pose.turn("right_elbow", z=on * (1.3 + 0.55 * np.sin(phase)))


def _drink(pose: Pose, on: Curve, phase: Curve) -> None:
    lift = on * (0.55 + 0.45 * _up(phase))
    pose.turn("right_shoulder", x=0.95 * lift, z=0.25 * lift)
    pose.turn("right_elbow", x=2.0 * lift, z=-0.5 * lift)
    pose.turn("neck", x=0.35 * lift)


def _throw(pose: Pose, on: Curve, phase: Curve) -> None:
    back, out = on * _peak(phase, 0.35), on * _peak(phase, 0.6)
    pose.turn("right_shoulder", x=2.5 * back + 1.3 * out, z=0.5 * back)
    pose.turn("right_elbow", x=1.5 * back + 0.1 * out)
    pose.turn("spine", x=0.15 * back - 0.25 * out, y=0.4 * back - 0.4 * out)
    pose.turn("right_hip", x=-0.25 * back)


def _clap(pose: Pose, on: Curve, phase: Curve) -> None:
    pose.both("shoulder", x=0.85 * on, z=on * (0.1 + 0.3 * np.cos(phase)))
    pose.both("elbow", x=0.8 * on, z=-0.35 * on)


def _raise_arms(pose: Pose, on: Curve, phase: Curve) -> None:
    pose.both("shoulder", z=2.5 * on * _up(phase))


def _box(pose: Pose, on: Curve, phase: Curve) -> None:
    for side, sign in (("right", 1), ("left", -1)):
        out = on * np.clip(sign * np.sin(phase), 0, None)
        pose.turn(f"{side}_shoulder", x=0.55 * on + 0.9 * out)
        pose.turn(f"{side}_elbow", x=1.9 * on - 1.8 * out)
    pose.turn("spine", y=0.25 * on * np.sin(phase))
    pose.both("knee", x=-0.25 * on)
    pose.both("hip", x=0.12 * on)


def _kick(pose: Pose, on: Curve, phase: Curve) -> None:
    back, out = on * _peak(phase, 0.35), on * _peak(phase, 0.6)
    pose.turn("right_hip", x=-0.4 * back + 1.3 * out)
    pose.turn("right_knee", x=-1.1 * back - 0.1 * out)
    pose.turn("spine", x=0.2 * out)
    pose.both("shoulder", z=0.35 * on)


def _squat(pose: Pose, on: Curve, phase: Curve) -> None:
    down = on * _up(phase)
    pose.both("hip", x=1.5 * down)
    pose.both("knee", x=-2.0 * down)
    pose.turn("spine", x=-0.5 * down)
    pose.both("shoulder", x=1.2 * down)


def _bow(pose: Pose, on: Curve, phase: Curve) -> None:
    down = on * _up(phase)
    pose.turn("spine", x=-1.1 * down)
    pose.turn("neck", x=-0.3 * down)
    pose.both("shoulder", x=0.4 * down)


def _march(pose: Pose, on: Curve, phase: Curve) -> None:
    for side, sign in (("right", 1), ("left", -1)):
        step = on * np.clip(sign * np.sin(phase), 0, None)
        pose.turn(f"{side}_hip", x=0.9 * step)
        pose.turn(f"{side}_knee", x=-1.2 * step)
        pose.turn(f"{side}_shoulder", x=-0.45 * on * sign * np.sin(phase))
        pose.turn(f"{side}_elbow", x=0.4 * on)


def _shake_hands(pose: Pose, other: Pose, on: Curve, phase: Curve) -> None:
    for one in (pose, other):
        one.turn("right_shoulder", x=on * (0.85 + 0.12 * np.sin(2 * phase)))
        one.turn("right_elbow", x=on * (0.55 + 0.25 * np.sin(2 * phase)))


def _push(pose: Pose, other: Pose, on: Curve, phase: Curve) -> None:
    out = on * _up(phase)
    pose.both("shoulder", x=0.4 * on + 0.9 * out)
    pose.both("elbow", x=1.7 * on - 1.6 * out)
    pose.place[:, 2] -= 0.2 * out
    other.place[:, 2] += 0.35 * out
    other.turn("spine", x=0.35 * out)
    other.both("shoulder", x=0.5 * out, z=0.5 * out)
    other.turn("left_hip", x=-0.4 * out)


def _meet(pose: Pose, other: Pose, on: Curve, phase: Curve) -> None:
    far = 0.9 * (1 - np.cumsum(on) / max(float(on.sum()), 1.0))
    for one in (pose, other):
        _march(one, 0.7 * on, 2 * phase)
        one.place[:, 2] += far


ONE_PERSON: dict[str, Callable[[Pose, Curve, Curve], None]] = {
    "wave": _wave,
    "drink": _drink,
    "throw": _throw,
    "clap": _clap,
    "raise arms": _raise_arms,
    "box": _box,
    "kick": _kick,
    "squat": _squat,
    "bow": _bow,
    "march": _march,
}
TWO_PERSONS: dict[str, Callable[[Pose, Pose, Curve, Curve], None]] = {
    "shake hands": _shake_hands,
    "push": _push,
    "meet": _meet,
}
CLASS_NAMES = (*ONE_PERSON, *TWO_PERSONS)
"""By label."""
