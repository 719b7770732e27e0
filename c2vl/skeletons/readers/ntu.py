"""NTU RGB+D ``SsssCcccPpppRrrrAaaa.skeleton`` text files (60, 120 and the demo set).

A file is a stream of numbers: frames; per frame the number of bodies; per body 10 fields, the
number of joints (25), and 12 fields a joint, the first three of which are x, y, z in metres. Line
ends do not matter. Only the tokens that are used are ever turned into numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2vl.errors import UserError
from c2vl.skeletons.layout import NTU25
from c2vl.skeletons.motions import CLASS_NAMES as DEMO_CLASSES
from c2vl.skeletons.readers.base import Reader, RejectedError
from c2vl.skeletons.readers.ntu_classes import NTU120_CLASSES
from c2vl.skeletons.sequence import Sequence
from c2vl.skeletons.tracks import Track, two_bodies

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})\.skeleton")
_JOINTS = len(NTU25.joints)
_BODY_FIELDS, _JOINT_FIELDS = 10, 12
_BODY_TOKENS = _BODY_FIELDS + 1 + _JOINTS * _JOINT_FIELDS
_MAX_BYTES = 128 << 20  # the longest real files have some 10 MB
_MAX_BODIES = 12  # Kinect v2 tracks 6 at a time
_FARTHEST = 1e3  # metres; Kinect sees 8


def parse(text: bytes) -> list[Track]:
    """Parse the content of a ``.skeleton`` file into one track for each body id.

    Args:
        text: the file, LF or CRLF.

    Returns:
        Tracks in the order in which the bodies appear; none when no frame has a body.

    Raises:
        RejectedError: the structure does not hold (truncated, absurd counts, not numbers, another
            number of joints), with the frame.
    """
    tokens = text.split()
    frames = _count(tokens, 0, "the number of frames", len(tokens))
    starts: dict[bytes, list[int]] = {}
    seen: dict[bytes, list[int]] = {}
    at = 1
    for frame in range(frames):
        bodies = _count(tokens, at, f"frame {frame + 1}: the number of bodies", _MAX_BODIES)
        at += 1
        for _ in range(bodies):
            if at + _BODY_TOKENS > len(tokens):
                raise RejectedError(f"frame {frame + 1}: the file ends inside a body")
            if tokens[at + _BODY_FIELDS] != b"25":
                found = tokens[at + _BODY_FIELDS][:20].decode("ascii", "replace")
                raise RejectedError(f"frame {frame + 1}: {found} joints, expected {_JOINTS}")
            body = tokens[at]
            if frame in seen.get(body, ())[-1:]:
                raise RejectedError(f"frame {frame + 1}: one body id twice")
            starts.setdefault(body, []).append(at + _BODY_FIELDS + 1)
            seen.setdefault(body, []).append(frame)
            at += _BODY_TOKENS
    if at != len(tokens):
        raise RejectedError(f"{len(tokens) - at} fields follow the last of {frames} frames")
    return [Track(np.array(seen[body]), _joints(tokens, starts[body])) for body in starts]


def _count(tokens: list[bytes], at: int, what: str, most: int) -> int:
    if at >= len(tokens):
        raise RejectedError(f"the file ends before {what}")
    token = tokens[at]
    if not token.isdigit() or len(token) > 9 or int(token) > most:
        found = token[:20].decode("ascii", "replace")
        raise RejectedError(f'{what} is "{found}", expected a number up to {most}')
    return int(token)


def _joints(tokens: list[bytes], starts: list[int]) -> NDArray[np.float32]:
    """Return (T, 25, 3) from the tokens of one body's joints, which begin at ``starts``."""
    size = _JOINTS * _JOINT_FIELDS
    axes = [
        [token for start in starts for token in tokens[start + axis : start + size : _JOINT_FIELDS]]
        for axis in range(3)
    ]
    try:
        flat = np.array([list(map(float, axis)) for axis in axes])
    except ValueError as error:
        raise RejectedError(f"a coordinate is not a number: {error}") from None
    if not (np.abs(flat) < _FARTHEST).all():  # also false for NaN
        raise RejectedError("a coordinate is not finite, or farther away than any sensor sees")
    xyz = flat.reshape(3, len(starts), _JOINTS)
    return np.ascontiguousarray(xyz.transpose(1, 2, 0), dtype=np.float32)


def read(path: Path, classes: int) -> Sequence:
    """Read one file, keeping at most two bodies and the frames that have one.

    Raises:
        RejectedError: the name, the action or the content cannot be used, or no frame has a body.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise RejectedError("the name is not SsssCcccPpppRrrrAaaa.skeleton")
    setup, camera, performer, replication, action = (int(group) for group in match.groups())
    if not 1 <= action <= classes:
        raise RejectedError(f"action {action} is outside 1..{classes}")
    if path.stat().st_size > _MAX_BYTES:
        raise RejectedError(f"larger than {_MAX_BYTES} bytes")
    tracks = parse(path.read_bytes())
    if not tracks:
        raise RejectedError("no frame has a body")
    return Sequence(
        id=path.stem,
        joints=two_bodies(tracks),
        label=action - 1,
        subject=performer,
        camera=camera,
        setup=setup,
        replication=replication,
        source=path.name,
    )


def discover(source: Path) -> list[Path]:
    """Return the ``.skeleton`` files of a folder, sorted by name."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give the folder of the .skeleton files")
    found = sorted(path for path in source.iterdir() if path.name.endswith(".skeleton"))
    if not found:
        raise UserError(f"{source}: no file is named like S001C001P001R001A001.skeleton")
    return found


def _read_with(classes: int) -> Callable[[Path], Sequence]:
    return lambda path: read(path, classes)


def _reader(name: str, title: str, classes: tuple[str, ...], default_split: str) -> Reader:
    return Reader(name, title, NTU25, classes, default_split, discover, _read_with(len(classes)))


NTU60 = _reader("ntu60", "NTU RGB+D 60", NTU120_CLASSES[:60], "xsub60")
NTU120 = _reader("ntu120", "NTU RGB+D 120", NTU120_CLASSES, "xsub120")
DEMO = _reader("demo", "demo (generated)", DEMO_CLASSES, "demo_xsub")
