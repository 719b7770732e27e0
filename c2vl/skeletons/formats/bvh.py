"""Reads BVH motion capture: a hierarchy of joints, then a line of channels a frame.

A joint stands at its parent's transform of its offset, or of its position channels where it has
them; rotations are intrinsic, degrees, multiplied in the order of the channels.

Ours, since no kept library is both fast and safe: ``bvh`` 0.3 keeps every number as a word and
computes no positions. Shapes: T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.formats.number_rows import number_of, number_rows, number_rows_by_line
from c2vl.skeletons.rejected import RejectedError

Floats = NDArray[np.float64]

_AXES = {"x": 0, "y": 1, "z": 2}
_CHANNEL = re.compile(r"([xyz])(position|rotation)")
_FRAMES = re.compile(rb"frames\s*:\s*(\d{1,9})\s*", re.IGNORECASE)
_TIME = re.compile(rb"frame\s*time\s*:\s*(\S{1,40})\s*", re.IGNORECASE)
_MOTION = re.compile(rb"^[ \t]*MOTION[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_MOST_JOINTS = 1000
_MOST_CHANNELS = 6


@dataclass
class Joint:
    """A joint of the hierarchy.

    Attributes:
        parent: place of its parent; -1 of the root.
        offset: (3,) from the parent, in the file's unit.
        channels: ("position" or "rotation", axis 0..2), in the order of the file.
        first: place of its first channel in a line.
    """

    name: str
    parent: int
    offset: Floats = field(default_factory=lambda: np.zeros(3))
    channels: list[tuple[str, int]] = field(default_factory=list)
    first: int = 0


@dataclass(frozen=True)
class Motion:
    """The content of a file.

    Attributes:
        joints: parents before children; without end sites.
        channels: (T, channels).
        seconds: from one frame to the next.
    """

    joints: list[Joint]
    channels: Floats
    seconds: float

    @property
    def rate(self) -> float:
        """Frames a second; of 0.0333333 s a frame 30."""
        return round(1 / self.seconds, 2)

    def positions(self) -> Floats:
        """Return the places of all joints, (T, V, 3), in the file's unit."""
        frames = len(self.channels)
        placed_TVC = np.empty((frames, len(self.joints), 3))
        turned: list[Floats] = []  # of each joint, (T, 3, 3)
        for place, joint in enumerate(self.joints):
            local_TC = np.tile(joint.offset, (frames, 1))
            rotation_T33 = np.tile(np.eye(3), (frames, 1, 1))
            for channel, (kind, axis) in enumerate(joint.channels, start=joint.first):
                values_T = self.channels[:, channel]
                if kind == "position":
                    local_TC[:, axis] = values_T
                else:
                    rotation_T33 = rotation_T33 @ _about(axis, np.radians(values_T))
            if joint.parent < 0:
                placed_TVC[:, place] = local_TC
            else:
                parent_T33 = turned[joint.parent]
                moved_TC = (parent_T33 @ local_TC[:, :, None])[:, :, 0]
                placed_TVC[:, place] = placed_TVC[:, joint.parent] + moved_TC
                rotation_T33 = parent_T33 @ rotation_T33
            turned.append(rotation_T33)
        return placed_TVC


def _about(axis: int, angle_T: Floats) -> Floats:
    """Return right-handed rotations about an axis, (T, 3, 3); angles in radians."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    turn_T33 = np.zeros((len(angle_T), 3, 3))
    turn_T33[:, axis, axis] = 1
    turn_T33[:, one, one] = turn_T33[:, other, other] = np.cos(angle_T)
    turn_T33[:, other, one] = np.sin(angle_T)
    turn_T33[:, one, other] = -turn_T33[:, other, one]
    return turn_T33


def read_bvh(text: bytes) -> Motion:
    """Read a whole file.

    Fewer frames than declared are taken as they are; more are refused, since then the number or
    the lines are wrong.

    Raises:
        RejectedError: it is no such file; it names the line.
    """
    joints, channels, at = read_hierarchy(text)
    rest = text[at:]
    lines_before = text[:at].count(b"\n")
    declared, seconds, used = None, None, 0
    for line in rest.splitlines(keepends=True):
        used += len(line)
        word = line.strip()
        if not word:
            continue
        if match := _FRAMES.fullmatch(word):
            declared = int(match[1])
        elif match := _TIME.fullmatch(word):
            seconds = _number(match[1], lines_before + rest[:used].count(b"\n"))
        else:
            used -= len(line)
            break
        if declared is not None and seconds is not None:
            break
    if declared is None or seconds is None:
        number = lines_before + rest[:used].count(b"\n") + 1
        raise RejectedError("expected Frames: and Frame Time: after MOTION", number)
    if not 1e-5 <= seconds <= 10:
        raise RejectedError(f"the frame time is {seconds:g} s")
    rows = _rows(rest[used:], channels, lines_before + rest[:used].count(b"\n"))
    if not len(rows):
        raise RejectedError("there is no frame in it")
    if len(rows) > declared:
        raise RejectedError(f"{len(rows)} frames, but {declared} are declared")
    return Motion(joints, rows, seconds)


def _rows(text: bytes, channels: int, before: int) -> Floats:
    """Return the channels of each frame, (T, channels)."""
    text = b"\n".join(line for line in text.replace(b",", b" ").splitlines() if line.strip())
    rows = number_rows(text + b"\n", channels) if text else np.zeros((0, channels))
    if rows is not None:
        return rows
    try:
        rows = number_rows_by_line(text, channels)
    except RejectedError as error:
        line = before + error.line if error.line else None
        raise RejectedError(error.reason, line) from None
    if not np.isfinite(rows).all():
        raise RejectedError("a channel is not finite")
    return rows


def read_hierarchy(text: bytes) -> tuple[list[Joint], int, int]:
    """Read the hierarchy alone.

    Args:
        text: a file, or its start up to the word MOTION at least.

    Returns:
        The joints, the number of channels in a line, and where the line after MOTION starts.

    Raises:
        RejectedError: it is no such file; it names the line.
    """
    motion = _MOTION.search(text)
    if motion is None:
        raise RejectedError("not BVH: there is no line MOTION")
    try:
        lines = text[: motion.start()].decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        lines = error.object.decode("latin-1").splitlines()  # names of joints alone
    words = [
        (number, word)
        for number, line in enumerate(lines, start=1)
        for word in re.findall(r"[{}]|[^\s{},]+", line)
    ]
    return *_Hierarchy(words).read(), min(motion.end() + 1, len(text))


class _Hierarchy:
    """Parses the words of a hierarchy; of each the line is known."""

    def __init__(self, words: list[tuple[int, str]]) -> None:
        self.words = words
        self.at = 0
        self.line = 1

    def next(self) -> str:
        if self.at == len(self.words):
            raise RejectedError("the hierarchy ends early", self.line)
        self.line, word = self.words[self.at]
        self.at += 1
        return word

    def expect(self, *wanted: str) -> str:
        word = self.next()
        if word.lower() not in wanted:
            said = " or ".join(wanted).upper()
            raise RejectedError(f'expected {said}, found "{word[:40]}"', self.line)
        return word.lower()

    def numbers(self, count: int) -> Floats:
        return np.array([_number(self.next().encode(), self.line) for _ in range(count)])

    def read(self) -> tuple[list[Joint], int]:
        self.expect("hierarchy")
        self.expect("root")
        joints = [Joint(self.name(), -1)]
        self.expect("{")
        open_joints, channels = [0], 0
        while open_joints:
            joint = joints[open_joints[-1]]
            word = self.expect("offset", "channels", "joint", "end", "}")
            if word == "offset":
                joint.offset = self.numbers(3)
            elif word == "channels":
                if joint.channels:
                    raise RejectedError(f"{joint.name} has channels twice", self.line)
                joint.first = channels
                joint.channels = self.channels()
                channels += len(joint.channels)
            elif word == "joint":
                if len(joints) == _MOST_JOINTS:
                    raise RejectedError(f"more than {_MOST_JOINTS} joints", self.line)
                joints.append(Joint(self.name(), open_joints[-1]))
                self.expect("{")
                open_joints.append(len(joints) - 1)
            elif word == "end":
                self.expect("site")
                while self.next() != "{":
                    pass  # some give the end a name
                self.expect("offset")
                self.numbers(3)
                self.expect("}")
            else:
                open_joints.pop()
        if self.at < len(self.words):
            self.next()
            raise RejectedError("a second ROOT, or words after the hierarchy", self.line)
        if not channels:
            raise RejectedError("no joint has channels")
        return joints, channels

    def name(self) -> str:
        """Read a name, which may hold blanks (``Bip01 L UpperArm``)."""
        parts = []
        while self.at < len(self.words) and self.words[self.at][1] != "{":
            parts.append(self.next())
        name = " ".join(parts)
        if not name or not name.isprintable() or len(name) > 200:
            raise RejectedError("a joint has no name", self.line)
        return name

    def channels(self) -> list[tuple[str, int]]:
        count = self.next()
        if not count.isdecimal() or int(count) > _MOST_CHANNELS:
            raise RejectedError(f'"{count[:40]}" channels, expected 0 to 6', self.line)
        found = []
        for _ in range(int(count)):
            word = self.next()
            match = _CHANNEL.fullmatch(word.lower())
            if match is None:
                raise RejectedError(f'"{word[:40]}" is no channel', self.line)
            found.append((match[2], _AXES[match[1]]))
        return found


def _number(word: bytes, line: int) -> float:
    try:
        value = number_of(word)
    except ValueError:
        raise RejectedError(f"not a number: {word[:40].decode('latin-1')}", line) from None
    if not np.isfinite(value):
        raise RejectedError("a number is not finite", line)
    return value
