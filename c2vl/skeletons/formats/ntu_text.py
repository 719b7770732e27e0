"""Parses NTU RGB+D ``.skeleton`` files.

Line by line: frames; for each frame the number of bodies; for each body 10 fields (the first is its
id), the number of joints (25), and 25 lines of 12 fields, of which the first three are x, y, z in
metres. Line ends are LF or CRLF.

Shapes: T frames of a track, B body frames, V = 25 joints, C = (x, y, z).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.formats.kinect_tracks import Track
from c2vl.skeletons.formats.number_rows import number_of, number_rows
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import checked

_JOINTS = 25
_BODY_FIELDS, _JOINT_FIELDS = 10, 12
_MOST_BODIES = 12  # Kinect v2 tracks 6 at a time


def parse(text: bytes) -> list[Track]:
    """Parse the content of a file into one track for each body id.

    Returns:
        Tracks in the order in which the bodies appear; none when no frame has a body.
    """
    bodies = _Bodies(text)
    joints_BVC = checked(bodies.joints())
    ids, frames = np.array(bodies.ids, dtype=np.uint64), np.array(bodies.frames, dtype=np.int64)
    tracks = []
    for body in dict.fromkeys(bodies.ids):
        mine = np.flatnonzero(ids == np.uint64(body))
        twice = np.flatnonzero(np.diff(frames[mine]) == 0)
        if len(twice):
            raise RejectedError(f"frame {frames[mine][twice[0]] + 1}: one body id twice")
        tracks.append(Track(frames[mine], joints_BVC[mine]))
    return tracks


class _Bodies:
    """Finds the bodies in the lines of a file.

    Attributes:
        ids: of each body frame, in the order of the file.
    """

    def __init__(self, text: bytes) -> None:
        self.ids: list[int] = []
        self.frames: list[int] = []
        self._lines = text.split(b"\n")
        self._at = 0
        self._firsts: list[int] = []  # the line of each body frame's first joint
        try:
            self._find()
        except RejectedError:
            self._joints_by_line()  # the cause is often an earlier line
            raise

    def _find(self) -> None:
        for frame in range(self._count("the number of frames", len(self._lines))):
            where = f"frame {frame + 1}: "
            for _ in range(self._count(where + "the number of bodies", _MOST_BODIES)):
                body = self._line(where + "a body", _BODY_FIELDS)[0]
                if not body.isdigit() or len(body) > 20 or int(body) >= 1 << 64:
                    raise self._wrong(f'{where}"{_shown(body)}" is no body id')
                joints = self._line(where + "the number of joints", 1)[0]
                if joints != b"25":
                    raise self._wrong(f"{where}{_shown(joints)} joints, expected {_JOINTS}")
                self.ids.append(int(body))
                self.frames.append(frame)
                self._firsts.append(self._at)
                self._at += _JOINTS
        for number in range(self._at, len(self._lines)):
            if self._lines[number].strip():
                raise RejectedError("lines follow the last frame", number + 1)

    def joints(self) -> NDArray[np.float64]:
        """Return the joints (B, V, C) of all body frames."""
        lines = [line for at in self._firsts for line in self._lines[at : at + _JOINTS]]
        rows = None
        if lines and len(lines) == _JOINTS * len(self._firsts):
            rows = number_rows(b"\n".join(lines) + b"\n", _JOINT_FIELDS, 3)
        if rows is None or len(rows) != len(lines):
            rows = self._joints_by_line()
        return rows.reshape(-1, _JOINTS, 3)

    def _joints_by_line(self) -> NDArray[np.float64]:
        rows = []
        for frame, first in zip(self.frames, self._firsts, strict=True):
            self._at = first
            for _ in range(_JOINTS):
                fields = self._line(f"frame {frame + 1}: a joint", _JOINT_FIELDS)[:3]
                try:
                    rows.append([number_of(field) for field in fields])
                except ValueError:
                    found = _shown(b" ".join(fields), 60)
                    raise self._wrong(f'a coordinate is not a number: "{found}"') from None
        return np.array(rows, dtype=np.float64)

    def _line(self, what: str, fields: int) -> list[bytes]:
        """Return the fields of the next line."""
        rest = self._lines[self._at : self._at + 2]
        if not rest or (len(rest) == 1 and not rest[0].strip()):
            raise RejectedError(f"the file ends before {what}", min(self._at, len(self._lines)) + 1)
        found = rest[0].split()
        self._at += 1
        if len(found) != fields:
            raise self._wrong(f"{what}: {len(found)} fields in a line, expected {fields}")
        return found

    def _count(self, what: str, most: int) -> int:
        (token,) = self._line(what, 1)
        if not token.isdigit() or len(token) > 9 or int(token) > most:
            raise self._wrong(f'{what} is "{_shown(token)}", expected a number up to {most}')
        return int(token)

    def _wrong(self, reason: str) -> RejectedError:
        return RejectedError(reason, self._at)


def _shown(field: bytes, most: int = 20) -> str:
    return field[:most].decode("ascii", "replace")
