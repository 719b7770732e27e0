"""NTU RGB+D ``.skeleton`` files read the way published code does: line by line, a dict a joint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_BODY = (
    *("bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence"),
    *("handRightState", "isResticted", "leanX", "leanY", "trackingState"),
)
_JOINT = (
    *("x", "y", "z", "depthX", "depthY", "colorX", "colorY"),
    *("orientationW", "orientationX", "orientationY", "orientationZ", "trackingState"),
)


def read_skeleton(path: Path) -> dict[str, Any]:
    """Every field of a file, as nested dicts and lists."""
    with path.open() as file:
        sequence: dict[str, Any] = {"numFrame": int(file.readline()), "frameInfo": []}
        for _ in range(sequence["numFrame"]):
            frame: dict[str, Any] = {"numBody": int(file.readline()), "bodyInfo": []}
            for _ in range(frame["numBody"]):
                body: dict[str, Any] = {
                    name: float(value)
                    for name, value in zip(_BODY, file.readline().split(), strict=True)
                }
                body["numJoint"] = int(file.readline())
                body["jointInfo"] = [
                    {
                        name: float(value)
                        for name, value in zip(_JOINT, file.readline().split(), strict=True)
                    }
                    for _ in range(body["numJoint"])
                ]
                frame["bodyInfo"].append(body)
            sequence["frameInfo"].append(frame)
    return sequence


def read_xyz(path: Path, bodies: int = 2, joints: int = 25) -> np.ndarray:
    """The joints of the first bodies of each frame, (3, T, V, M)."""
    sequence = read_skeleton(path)
    data = np.zeros((3, sequence["numFrame"], joints, bodies))
    for t, frame in enumerate(sequence["frameInfo"]):
        for m, body in enumerate(frame["bodyInfo"][:bodies]):
            for v, joint in enumerate(body["jointInfo"][:joints]):
                data[:, t, v, m] = [joint["x"], joint["y"], joint["z"]]
    return data
