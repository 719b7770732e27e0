"""Poses a body of bones by forward kinematics, for the demo set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.demo.motions import PARTS, Pose
from c2vl.skeletons.layout import NTU25

Floats = NDArray[np.float64]

# joint: (the joint it hangs on, the part that turns its bone, the bone at rest in metres)
_BONES: dict[str, tuple[str, str, tuple[float, float, float]]] = {
    "spine_mid": ("spine_base", "spine", (0, 0.25, 0)),
    "spine_shoulder": ("spine_mid", "chest", (0, 0.24, 0)),
    "neck": ("spine_shoulder", "neck", (0, 0.08, 0)),
    "head": ("neck", "neck", (0, 0.15, 0)),
}
for _side, _sign in (("left", -1), ("right", 1)):
    _BONES |= {
        f"{_side}_shoulder": ("spine_shoulder", "chest", (_sign * 0.18, -0.04, 0)),
        f"{_side}_elbow": (f"{_side}_shoulder", f"{_side}_shoulder", (0, -0.27, 0)),
        f"{_side}_wrist": (f"{_side}_elbow", f"{_side}_elbow", (0, -0.24, 0)),
        f"{_side}_hand": (f"{_side}_wrist", f"{_side}_elbow", (0, -0.08, 0)),
        f"{_side}_hand_tip": (f"{_side}_hand", f"{_side}_elbow", (0, -0.08, 0)),
        f"{_side}_thumb": (f"{_side}_hand", f"{_side}_elbow", (-_sign * 0.03, -0.02, -0.04)),
        f"{_side}_hip": ("spine_base", "pelvis", (_sign * 0.09, -0.05, 0)),
        f"{_side}_knee": (f"{_side}_hip", f"{_side}_hip", (0, -0.42, 0)),
        f"{_side}_ankle": (f"{_side}_knee", f"{_side}_knee", (0, -0.40, 0)),
        f"{_side}_foot": (f"{_side}_ankle", f"{_side}_knee", (0, -0.06, -0.12)),
    }
# part: the part that carries it (the spine's halves are "spine" and "chest")
_CARRIER = {"neck": "chest"} | {
    f"{side}_{part}": carrier.format(side=side)
    for side in ("left", "right")
    for part, carrier in (
        ("shoulder", "chest"),
        ("elbow", "{side}_shoulder"),
        ("hip", "pelvis"),
        ("knee", "{side}_hip"),
    )
}


@dataclass(frozen=True)
class Build:
    """Sizes relative to a body of some 1.70 m."""

    height: float
    arms: float
    legs: float
    width: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """Draw a performer's sizes."""
        return cls(
            height=rng.uniform(0.86, 1.14),
            arms=rng.uniform(0.93, 1.07),
            legs=rng.uniform(0.93, 1.07),
            width=rng.uniform(0.88, 1.15),
        )

    def bone(self, joint: str) -> Floats:
        """Return the bone that ends in a joint, at rest."""
        scale = np.full(3, self.height, dtype=np.float64)
        if joint.endswith(("elbow", "wrist", "hand", "hand_tip", "thumb")):
            scale *= self.arms
        elif joint.endswith(("knee", "ankle")):
            scale *= self.legs
        elif joint.endswith(("shoulder", "hip")):
            scale[0] *= self.width
        scale *= np.array(_BONES[joint][2])
        return scale


def place_joints(pose: Pose, build: Build) -> Floats:
    """Return the joints (T, 25, 3) of a posed body, metres, its lowest point on the floor y = 0."""
    turns: dict[str, Floats] = {}
    for number, part in enumerate(PARTS):
        angles = pose.angles[:, number]
        carrier = _CARRIER.get(part)
        if part == "spine":  # bends in two places, half in each
            turns["spine"] = turns["pelvis"] @ _rotation(angles / 2)
            turns["chest"] = turns["spine"] @ _rotation(angles / 2)
        else:
            turns[part] = turns[carrier] @ _rotation(angles) if carrier else _rotation(angles)
    joints = {"spine_base": np.zeros((len(pose.angles), 3))}
    for joint, (parent, part, _) in _BONES.items():
        joints[joint] = joints[parent] + turns[part] @ build.bone(joint)
    world = np.stack([joints[name] for name in NTU25.joints], axis=1)
    world[..., 1] -= world[..., 1].min(axis=1, keepdims=True)
    return world + pose.place[:, None]


def _rotation(angles_T3: Floats) -> Floats:
    """Return (T, 3, 3) rotations of column vectors: about x first, then z, then y."""
    cos, sin = np.cos(angles_T3).T, np.sin(angles_T3).T
    maps = np.broadcast_to(np.eye(3), (len(angles_T3), 3, 3))
    for axis in (0, 2, 1):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one = np.tile(np.eye(3), (len(angles_T3), 1, 1))
        one[:, a, a] = one[:, b, b] = cos[axis]
        one[:, a, b], one[:, b, a] = -sin[axis], sin[axis]
        maps = one @ maps
    return maps
