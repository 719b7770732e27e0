"""Conversion between joint layouts, where their joints correspond. NumPy alone.

A joint of the target comes from the source's joint of the same name, else from the one that
``ALIASES`` says is the same place of the body under another sensor's name, else it is placed by a
rule of ``RULES`` as a weighted mean of joints. Joints that the target lacks are dropped.

Kinect v1 and v2 have other names for the same places of the body; where they also estimate them a
little differently, nothing is corrected. The rules are our choice.

Shapes: M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError

ALIASES: dict[str, str] = {
    "hip_center": "spine_base",
    "spine": "spine_mid",
    "shoulder_center": "spine_shoulder",
    "pelvis": "spine_base",
    "thorax": "spine_shoulder",
}
"""Another sensor's name of a joint → Kinect v2's name of the same place."""

RULES: dict[str, dict[str, float]] = {
    # the neck is nearer to the shoulders' height than to the middle of the head
    "neck": {"spine_shoulder": 2 / 3, "head": 1 / 3},
    "spine_mid": {"spine_base": 1 / 2, "spine_shoulder": 1 / 2},
    "spine_base": {"left_hip": 1 / 2, "right_hip": 1 / 2},
    "spine_shoulder": {"left_shoulder": 1 / 2, "right_shoulder": 1 / 2},
}
"""A joint that the source lacks → the joints that it is the weighted mean of (each of which may
itself be placed by a rule). The weights of a rule sum to 1."""

for _side in ("left", "right"):
    RULES |= {
        f"{_side}_hand_tip": {f"{_side}_hand": 1},
        f"{_side}_thumb": {f"{_side}_hand": 1},
        f"{_side}_hand": {f"{_side}_wrist": 1},
        f"{_side}_foot": {f"{_side}_ankle": 1},
    }


@dataclass(frozen=True)
class Origin:
    """Where a joint of the target layout comes from.

    Attributes:
        joint: its name in the target.
        how: the source has it under the ``same`` name, under an ``alias``, or a rule ``placed`` it.
        sources: joints of the source and their weights, which sum to 1; one of weight 1 unless
            placed.
    """

    joint: str
    how: Literal["same", "alias", "placed"]
    sources: tuple[tuple[str, float], ...]


def correspondence(source: JointLayout, target: JointLayout) -> tuple[Origin, ...]:
    """Say for each joint of ``target``, in its order, where ``source`` provides it.

    Raises:
        UserError: joints can be neither found nor placed; it names them and what they would need.
    """
    origins, impossible = [], []
    for joint in target.joints:
        found = _find(joint, source)
        if found is not None:
            how: Literal["same", "alias"] = "same" if found == joint else "alias"
            origins.append(Origin(joint, how, ((found, 1.0),)))
            continue
        lacking: list[str] = []
        weights = _place(joint, source, lacking)
        origins.append(Origin(joint, "placed", tuple(weights.items())))
        if lacking:
            needs = [name for name in dict.fromkeys(lacking) if name != joint]
            impossible.append(joint + (f" (it would need {' and '.join(needs)})" if needs else ""))
    if impossible:
        raise UserError(
            f"layout {source.name} cannot be converted to {target.name}: nothing in it says where "
            f"{', '.join(impossible)} should be; joints correspond by name"
        )
    return tuple(origins)


def convert(
    joints_MTVC: NDArray[np.generic], source: JointLayout, target: JointLayout
) -> NDArray[np.float32]:
    """Return a sequence in another layout.

    Joints that correspond are copied as they are. A body that is absent from a frame (all zero)
    is exactly zero there afterwards too, since every placed joint is a mean of others.

    Args:
        joints_MTVC: (..., V, 3) of the source's V, real numbers: one sequence (M, T, V, 3), or a
            batch (N, M, T, V, 3); it is left as it is.
        source: its layout.
        target: the wanted one.

    Returns:
        (..., V', 3) float32 of the target's V', a new array.

    Raises:
        UserError: the shape is not the source's, or a joint can be neither found nor placed.
    """
    joints = np.asarray(joints_MTVC)
    if joints.ndim < 2 or joints.shape[-2:] != (len(source.joints), 3):
        raise UserError(
            f"joints are {joints.shape}; layout {source.name} has (..., {len(source.joints)}, 3)"
        )
    number = {joint: place for place, joint in enumerate(source.joints)}
    origins = correspondence(source, target)
    converted = np.empty((*joints.shape[:-2], len(origins), 3), np.float32)
    for place, origin in enumerate(origins):
        (first, weight), *others = origin.sources
        converted[..., place, :] = joints[..., number[first], :]
        if others:  # not by a matrix: a value that is not finite must stay in its own joint
            converted[..., place, :] *= np.float32(weight)
            for joint, share in others:
                part = joints[..., number[joint], :].astype(np.float32)
                converted[..., place, :] += np.float32(share) * part
    return converted


def _find(joint: str, source: JointLayout) -> str | None:
    """Return the source's joint of this name or of an alias of it."""
    if joint in source.joints:
        return joint
    place = ALIASES.get(joint, joint)
    return next((name for name in source.joints if ALIASES.get(name, name) == place), None)


def _place(joint: str, source: JointLayout, lacking: list[str]) -> dict[str, float]:
    """Return the source's joints and weights for a joint; unavailable joints go to ``lacking``."""
    found = _find(joint, source)
    if found is not None:
        return {found: 1.0}
    rule = RULES.get(ALIASES.get(joint, joint))
    if rule is None:
        lacking.append(joint)
        return {}
    weights: dict[str, float] = {}
    for part, share in rule.items():
        for name, weight in _place(part, source, lacking).items():
            weights[name] = weights.get(name, 0.0) + share * weight
    return weights
