"""Writes NTU RGB+D ``.skeleton`` text, which :mod:`c2vl.skeletons.datasets.ntu` reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_JOINT_LINE = " ".join(["%.7g"] * 11 + ["%d"])


@dataclass(frozen=True)
class TrackedBody:
    """The frames in which the sensor tracks a body under one id.

    Attributes:
        id: the sensor's number for it.
        frames: (T,) frame numbers in which it is tracked, ascending.
        joints: (T, 25, 3) metres, camera space.
    """

    id: int
    frames: NDArray[np.int64]
    joints: NDArray[np.float64]


def skeleton_text(bodies: list[TrackedBody], newline: str = "\n") -> str:
    """Return a file's text, with all 12 fields a joint.

    Depth and colour positions are pinhole projections with Kinect v2's usual numbers; orientations
    are the identity: no reader uses them.

    Args:
        newline: the line end, LF or CRLF as both occur in the dataset.
    """
    frames = 1 + max(int(body.frames[-1]) for body in bodies if len(body.frames))
    blocks: list[list[str]] = [[] for _ in range(frames)]
    for body in bodies:
        template = "\n".join([_JOINT_LINE] * body.joints.shape[1])
        header = f"{body.id} 0 1 1 0 0 0 0.02 -0.01 2\n{body.joints.shape[1]}\n"
        for frame, fields in zip(body.frames, _fields(body.joints), strict=True):
            blocks[frame].append(header + template % tuple(fields))
    lines = [str(frames)]
    for block in blocks:
        lines += [str(len(block)), *block]
    text = "\n".join(lines) + "\n"
    return text if newline == "\n" else text.replace("\n", newline)


def _fields(joints: NDArray[np.float64]) -> list[list[float]]:
    """Return, for each frame, the 25 × 12 numbers in the order of the file."""
    x, y, z = np.moveaxis(joints, 2, 0)
    depth = np.stack([256 + 365 * x / z, 212 - 365 * y / z], axis=2)
    colour = np.stack([960 + 1060 * x / z, 540 - 1060 * y / z], axis=2)
    orientation = np.zeros((*joints.shape[:2], 4))
    orientation[..., 0] = 1
    state = np.full((*joints.shape[:2], 1), 2.0)
    fields = np.concatenate([joints, depth, colour, orientation, state], axis=2)
    rows: list[list[float]] = fields.reshape(len(joints), -1).tolist()
    return rows
