"""Keypoints of pose estimators (:mod:`c2vl.skeletons.formats.keypoint_json`), 2D and 3D.

The number of keypoints tells the layout: 17 COCO, 25 OpenPose, 33 MediaPipe. A recording is a file,
of OpenPose the files ``NAME_000000000000_keypoints.json``. Cameras count y downwards; it is turned
up. Images know no metres: of 2D keypoints the middle of the shoulders comes to stand half a metre
from that of the hips, and z is 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, whole_item
from c2vl.skeletons.datasets.recordings import items_of
from c2vl.skeletons.formats.keypoint_json import Person, read_frames
from c2vl.skeletons.formats.kinect_tracks import Track, two_persons
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import COCO17, MEDIAPIPE33, OPENPOSE25, JointLayout
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import Sequence as Motion
from c2vl.skeletons.sequence import checked
from c2vl.support.errors import UserError

_MOST_BYTES = 512 << 20  # an hour of ten persons of MediaPipe
_FRAME = re.compile(r"(.*?)_?(\d+)_keypoints\.json", re.IGNORECASE)
_LAYOUTS = {len(one.joints): one for one in (COCO17, OPENPOSE25, MEDIAPIPE33)}
_TRUNK = 0.5  # metres from the middle of the hips to that of the shoulders


def discover(source: Path, options: Options) -> Found:
    """Group the files of a recording, and read the first person for the layout."""
    frames: dict[str, list[RawFile]] = {}
    files = []
    for file in list_files(source):
        if found := _FRAME.fullmatch(file.base):
            name = f"{found[1] or 'frames'}.json"
            frames.setdefault(f"{file.folder}/{name}".lstrip("/"), []).append(file)
        else:
            files.append(file)
    files += [replace(own[0], name=name) for name, own in frames.items()]
    items, rejected, classes, split = items_of(source, files, ".json", {})
    items = [
        replace(item, file=own[0], beside=tuple(own[1:]))
        if (own := _in_order(frames.get(item.file.name, [])))
        else item
        for item in items
    ]
    layout = _layout(source, items)
    items = [replace(item, facts={**item.facts, "joints": len(layout.joints)}) for item in items]
    return Found(items, layout, tuple(classes), split, options.fps or 30.0, tuple(rejected))


def _in_order(files: list[RawFile]) -> list[RawFile]:
    def number(file: RawFile) -> int:
        found = _FRAME.fullmatch(file.base)
        return int(found[2]) if found else 0

    return sorted(files, key=number)


def _layout(source: Path, items: Sequence[Item]) -> JointLayout:
    for item in items:
        for file in (item.file, *item.beside):
            try:
                frames = read_frames(file.read(_MOST_BYTES))
            except (RejectedError, OSError):
                continue
            for person in (person for frame in frames for person in frame):
                if len(person.points) in _LAYOUTS:
                    return _LAYOUTS[len(person.points)]
    raise UserError(
        f"{source}: no JSON file with {', '.join(map(str, _LAYOUTS))} keypoints a person; what is "
        "read: OpenPose's frames, COCO's results, MediaPipe's landmarks"
    )


def read(item: Item) -> Iterator[Motion]:
    """Read one recording: (1 or 2, T, V, 3), y up."""
    facts = dict(item.facts)
    wanted = int(facts.pop("joints"))
    frames = [
        frame for one in (item.file, *item.beside) for frame in read_frames(one.read(_MOST_BYTES))
    ]
    persons = [person for frame in frames for person in frame]
    if not persons:
        raise RejectedError("nobody is seen in it")
    if other := {len(person.points) for person in persons} - {wanted}:
        raise RejectedError(f"it has {min(other)} keypoints a person, and the first file {wanted}")
    checked(np.stack([person.points for person in persons]))
    trunk = _trunk(persons, _LAYOUTS[wanted])
    scale = _TRUNK / trunk if persons[0].flat else 1.0
    tracks = [_track(one, scale) for one in _followed(frames, trunk)]
    whole = [track for track in tracks if track is not None]
    if not whole:
        raise RejectedError("each person in it lacks a joint in every frame")
    joints, decisions = two_persons(whole)
    motion = whole_item(item, joints, **facts)
    yield replace(motion, decisions={**motion.decisions, **decisions})


def _trunk(persons: list[Person], layout: JointLayout) -> float:
    """Return the median distance of the middles of shoulders and hips, in the file's unit."""
    at = [layout.joints.index(f"{side}_{part}") for part in ("shoulder", "hip")
          for side in ("left", "right")]  # fmt: skip
    whole = [person.points[at] for person in persons if person.seen[at].all()]
    lengths = [np.linalg.norm(four[:2].mean(0) - four[2:].mean(0)) for four in whole]
    found = float(np.median(lengths)) if lengths else 0.0
    if found <= 0:
        raise RejectedError("nobody in it shows both shoulders and both hips")
    return found


Seen = list[tuple[int, Person]]


def _followed(frames: list[list[Person]], near: float) -> list[Seen]:
    """Link persons from frame to frame: by the tracker's id, else to the nearest in ``near``."""
    named: dict[str, Seen] = {}
    loose: list[Seen] = []
    for number, frame in enumerate(frames):
        ended = [one for one in loose if one[-1][0] == number - 1]
        for person in frame:
            if person.id is not None:
                known = named.setdefault(person.id, [])
                if not known or known[-1][0] < number:
                    known.append((number, person))
                continue
            apart = [_apart(one[-1][1], person) for one in ended]
            if apart and min(apart) < near:
                ended.pop(int(np.argmin(apart))).append((number, person))
            else:
                loose.append([(number, person)])
    return [*named.values(), *loose]


def _apart(one: Person, other: Person) -> float:
    both = one.seen & other.seen
    if not both.any():
        return np.inf
    return float(np.linalg.norm((one.points - other.points)[both].mean(0)))


def _track(person: Seen, scale: float) -> Track | None:
    """Fill unseen joints linearly over time, and turn y up; None where a joint is never seen."""
    frames = np.array([number for number, _ in person])
    points_TVC = np.stack([one.points for _, one in person]) * scale * [1, -1, -1]
    seen_TV = np.stack([one.seen for _, one in person])
    if not seen_TV.any(0).all():
        return None
    for joint in np.flatnonzero(~seen_TV.all(0)):
        here = seen_TV[:, joint]
        for axis in range(3):
            known = points_TVC[here, joint, axis]
            points_TVC[:, joint, axis] = np.interp(frames, frames[here], known)
    joints: NDArray[np.float32] = points_TVC.astype(np.float32)
    return Track(frames, joints)


KEYPOINTS = Reader("keypoints of a pose estimator", discover, read, frozenset({"fps"}))
