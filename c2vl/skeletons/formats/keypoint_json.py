"""Keypoints of pose estimators in JSON: OpenPose, COCO (and AlphaPose), MediaPipe.

* OpenPose: a file a frame, ``people`` → ``pose_keypoints_3d`` (x y z c …) or ``pose_keypoints_2d``;
* COCO: a list of results, or a file with ``annotations``: ``image_id``, ``keypoints`` (x y c …);
* MediaPipe: a list of frames, or ``frames`` → one: world landmarks (metres) before those of the
  image, each of one person or a list of persons; a landmark has ``x``, ``y``, ``z``.

Shapes: T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.rejected import RejectedError
from c2vl.support.files import parse_json

_LANDMARKS = (
    "pose_world_landmarks",
    "poseWorldLandmarks",
    "world_landmarks",
    "worldLandmarks",
    "pose_landmarks",
    "poseLandmarks",
    "landmarks",
    "landmark",
)


@dataclass(frozen=True)
class Person:
    """A person in a frame.

    Attributes:
        points: (V, 3); z is 0 where the estimator gives none.
        seen: (V,) bool.
        flat: whether the estimator gives no z.
        id: of the tracker, if there was one.
    """

    points: NDArray[np.float64]
    seen: NDArray[np.bool_]
    flat: bool
    id: str | None = None


def read_frames(text: bytes) -> list[list[Person]]:
    """Return the persons of each frame of a file.

    Raises:
        RejectedError: it is no JSON, or none of these formats.
    """
    try:
        content = parse_json(text)
        if isinstance(content, dict) and "people" in content:
            return [[_openpose(one) for one in content["people"]]]
        if isinstance(content, dict):
            content = content.get("annotations", content.get("frames"))
        if not isinstance(content, list) or not content:
            raise ValueError("neither people, annotations nor frames")
        if isinstance(content[0], dict) and "keypoints" in content[0]:
            return _coco(content)
        return [_mediapipe(frame) for frame in content]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise RejectedError(f"no keypoints that we know: {error}") from None


def _person(numbers: Any, each: int, id_: Any) -> Person:
    """Make a person of a flat list of numbers, ``each`` a joint, the last its confidence."""
    rows = np.asarray(numbers, np.float64).reshape(-1, each)
    points = np.zeros((len(rows), 3))
    points[:, : each - 1] = rows[:, :-1]
    return Person(points, rows[:, -1] > 0, each == 3, None if id_ is None else str(id_))


def _openpose(one: dict[str, Any]) -> Person:
    number = np.ravel(one.get("person_id", -1))[0]
    id_ = None if number == -1 else number
    if one.get("pose_keypoints_3d"):
        return _person(one["pose_keypoints_3d"], 4, id_)
    return _person(one["pose_keypoints_2d"], 3, id_)


def _coco(results: list[dict[str, Any]]) -> list[list[Person]]:
    """Group results by image; images are in the order of the numbers in their names."""
    frames: dict[str, list[Person]] = {}
    for one in results:
        id_ = one.get("track_id", one.get("idx"))
        person = _person(one["keypoints"], 3, id_)
        if person.seen.any():  # annotations without keypoints are all zero
            frames.setdefault(str(one["image_id"]), []).append(person)

    def place(name: str) -> tuple[list[int], str]:
        return [int(digits) for digits in re.findall(r"\d{1,18}", name)], name

    return [frames[name] for name in sorted(frames, key=place)]


def _mediapipe(frame: Any) -> list[Person]:
    found = frame
    while isinstance(found, dict):
        key = next((key for key in _LANDMARKS if found.get(key)), None)
        if key is None:
            return []  # nobody was found in this frame
        found = found[key]
    if not isinstance(found, list):
        raise ValueError("a frame is no list of landmarks")
    if found and isinstance(found[0], dict) and "x" in found[0]:
        found = [found]
    persons = []
    for one in found:
        marks: Any = one.get("landmark", one.get("landmarks")) if isinstance(one, dict) else one
        points = np.array([[mark["x"], mark["y"], mark["z"]] for mark in marks], np.float64)
        persons.append(Person(points.reshape(-1, 3), np.ones(len(points), bool), False))
    return persons
