"""The text of NTU RGB+D ``.skeleton`` files: compiled for what sensors write, careful for the rest.

Line by line: frames; for each frame the number of bodies; for each body 10 fields (the first is its
id), the number of joints (25), and 25 lines of 12 fields, of which the first three are x, y, z in
metres. Line ends are LF or CRLF.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from c2vl.skeletons.datasets.base import RejectedError, checked
from c2vl.skeletons.formats.kinect_tracks import Track
from c2vl.skeletons.formats.numbers import Bytes, decimal, skip_line, whole

_JOINTS = 25
_BODY_FIELDS, _JOINT_FIELDS = 10, 12
_SHORTEST_BODY = 2 * (_BODY_FIELDS + 1 + _JOINTS * _JOINT_FIELDS)  # bytes
_MOST_BODIES = 12  # Kinect v2 tracks 6 at a time


def parse(text: bytes) -> list[Track]:
    """Parse the content of a file into one track for each body id.

    Args:
        text: the file.

    Returns:
        Tracks in the order in which the bodies appear; none when no frame has a body.

    Raises:
        RejectedError: the structure does not hold (truncated, absurd counts, not numbers, another
            number of joints), with the line.
    """
    ids, frames, joints, sound = _compiled(np.frombuffer(text, dtype=np.uint8))
    if not sound:
        ids, frames, joints = by_lines(text)
    return _tracks(ids, frames, joints)


def _tracks(
    ids: NDArray[np.uint64], frames: NDArray[np.int64], joints: NDArray[np.float64]
) -> list[Track]:
    kept = checked(joints)
    order: dict[int, None] = dict.fromkeys(ids.tolist())
    tracks = []
    for body in order:
        mine = np.flatnonzero(ids == body)
        if (np.diff(frames[mine]) == 0).any():
            twice = frames[mine][:-1][np.diff(frames[mine]) == 0][0]
            raise RejectedError(f"frame {twice + 1}: one body id twice")
        tracks.append(Track(frames[mine], kept[mine]))
    return tracks


@njit(cache=True, nogil=True)
def _compiled(
    text: Bytes,
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float64], bool]:
    """Return ids, frame numbers and joints (n, 25, 3) of all body frames, and "all went well"."""
    most = text.size // _SHORTEST_BODY + 1
    ids = np.empty(most, dtype=np.uint64)
    frames = np.empty(most, dtype=np.int64)
    joints = np.empty((most, _JOINTS, 3))
    bad = ids[:0], frames[:0], joints[:0], False
    count = 0
    length, at = whole(text, 0)
    if at < 0:
        return bad
    at = skip_line(text, at, 0)
    frame = np.uint64(0)
    while frame < length:
        if at < 0:
            return bad
        bodies, at = whole(text, at)
        if at < 0 or bodies > _MOST_BODIES:
            return bad
        at = skip_line(text, at, 0)
        for _ in range(bodies):
            if at < 0 or count == most:
                return bad
            ids[count], at = whole(text, at)
            if at < 0:
                return bad
            at = skip_line(text, at, _BODY_FIELDS - 1)
            if at < 0:
                return bad
            number, at = whole(text, at)
            if at < 0 or number != _JOINTS:
                return bad
            at = skip_line(text, at, 0)
            for joint in range(_JOINTS):
                for axis in range(3):
                    if at < 0:
                        return bad
                    joints[count, joint, axis], at = decimal(text, at)
                if at < 0:
                    return bad
                at = skip_line(text, at, _JOINT_FIELDS - 3)
            frames[count] = frame
            count += 1
        frame += np.uint64(1)
    while at >= 0 and at < text.size:
        at = skip_line(text, at, 0)
    return ids[:count], frames[:count], joints[:count], at >= 0


def by_lines(
    text: bytes,
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float64]]:
    """Read the same line by line; here every reason to reject a file has its words and its line."""
    lines = text.split(b"\n")
    at = 0
    ids: list[int] = []
    numbers: list[int] = []
    rows: list[list[list[float]]] = []

    def line(what: str, fields: int) -> list[bytes]:
        nonlocal at
        if at >= len(lines) or (at == len(lines) - 1 and not lines[at].strip()):
            raise RejectedError(f"the file ends before {what}", at + 1)
        found = lines[at].split()
        at += 1
        if len(found) != fields:
            raise RejectedError(f"{what}: {len(found)} fields in a line, expected {fields}", at)
        return found

    def count(what: str, most: int) -> int:
        token = line(what, 1)[0]
        if not token.isdigit() or len(token) > 9 or int(token) > most:
            found = token[:20].decode("ascii", "replace")
            raise RejectedError(f'{what} is "{found}", expected a number up to {most}', at)
        return int(token)

    for frame in range(count("the number of frames", len(lines))):
        for _ in range(count(f"frame {frame + 1}: the number of bodies", _MOST_BODIES)):
            body = line(f"frame {frame + 1}: a body", _BODY_FIELDS)[0]
            if not body.isdigit() or int(body[:20]) >= 1 << 64 or len(body) > 20:
                found = body[:20].decode("ascii", "replace")
                raise RejectedError(f'frame {frame + 1}: "{found}" is no body id', at)
            joints = line(f"frame {frame + 1}: the number of joints", 1)[0]
            if joints != b"25":
                found = joints[:20].decode("ascii", "replace")
                raise RejectedError(f"frame {frame + 1}: {found} joints, expected {_JOINTS}", at)
            rows.append([_xyz(line(f"frame {frame + 1}: a joint", 12), at) for _ in range(_JOINTS)])
            ids.append(int(body))
            numbers.append(frame)
    rest = next((n for n in range(at, len(lines)) if lines[n].strip()), None)
    if rest is not None:
        raise RejectedError("lines follow the last frame", rest + 1)
    joints_array = np.array(rows).reshape(-1, _JOINTS, 3)
    return np.array(ids, dtype=np.uint64), np.array(numbers, dtype=np.int64), joints_array


def _xyz(fields: list[bytes], line: int) -> list[float]:
    try:
        return [float(field) for field in fields[:3]]
    except ValueError:
        found = b" ".join(fields[:3])[:60].decode("ascii", "replace")
        raise RejectedError(f'a coordinate is not a number: "{found}"', line) from None
