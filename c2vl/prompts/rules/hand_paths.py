"""What a hand draws in the air: the straight strokes of its path, and the figure that they make.

A path is that of a hand from the chest in arm lengths (:class:`.Body`), seen from behind the person
(x right, y up) or from the right side (x forward, y up), so a person's own right is right. Shapes:
T frames, n points of a path.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.rules import words
from c2vl.prompts.rules.measures import Array, Body
from c2vl.prompts.rules.whole_motion import corners, loop, raised, way
from c2vl.prompts.rules.words import count
from c2vl.skeletons.joint_names import SIDES

POINTS = 48
_STILL = 0.15  # arm lengths: what does not reach so far draws nothing
_BEND = 0.16  # of a path's extent: how far it must leave a line to be two strokes
_FRONT, _PROFILE = (0, 1), (2, 1)


def strokes(body: Body, side: int) -> list[str]:
    """Word the straight strokes of a hand as the person sees them: number, first, last, others.

    What a sentence encoder is told in one list it hardly tells from another list.
    """
    return _worded(body, side, _FRONT, words.STROKES)


def profile(body: Body, side: int) -> list[str]:
    """Word the straight strokes of a hand as they are seen from the side."""
    told = _worded(body, side, _PROFILE, words.PROFILE_STROKES)
    return [f"seen from the side, {text}" for text in told]


def _worded(body: Body, side: int, view: tuple[int, int], named: tuple[str, ...]) -> list[str]:
    path = even(body.hand[side][raised(body, side)][:, view])
    size = float(np.linalg.norm(np.ptp(path, axis=0)))
    hand = f"the {SIDES[side]} hand"
    if size < _STILL:
        return [f"{hand} hardly moves."] * 4
    said: list[str] = []
    for stroke in _strokes(path, size):
        word = _direction(stroke, named)
        if not said or said[-1] != word:
            said.append(word)
    said = said[:8]
    return [
        f"{hand} makes {count(len(said), 'stroke')}.",
        f"{hand} begins {', then '.join(said[:2])}.",
        f"{hand} ends {', then '.join(said[-2:])}.",
        f"in between {hand} goes {', then '.join(said[1:-1][:3]) or 'nowhere'}.",
    ]


def path(body: Body, side: int) -> str:
    """Word the directions of a hand in six equal parts of the time in which it is away from rest.

    As :func:`.whole_motion.path`, with marks between frames: no frame rate changes it much.
    """
    w, margin = raised(body, side), 0.1 * body.fps
    marks = np.linspace(w.start - margin, w.stop - 1 + margin, 7)
    frames = np.arange(body.hand.shape[1])
    return way(side, np.stack([np.interp(marks, frames, x) for x in body.hand[side].T], axis=1))


def figure(body: Body, side: int) -> str:
    """Name the figure that a hand draws: circle, polygon, cross, zigzag, hook, line …

    The stroke that leads there from rest and the one that leads back are no part of it.
    """
    whole = body.hand[side][:, _FRONT]
    x = whole[raised(body, side)]
    path = even(x)
    size = float(np.linalg.norm(np.ptp(path, axis=0)))
    who = f"the {SIDES[side]} hand draws"
    if size < 0.2:
        return f"{who} nothing in the air."
    ends = _corners(path, size)
    if len(ends) > 3 and _along(path[ends[1]] - path[ends[0]], path[ends[1]] - whole[0]):
        ends = ends[1:]
    if len(ends) > 4 and _along(path[ends[-1]] - path[ends[-2]], whole[-1] - path[ends[-2]]):
        ends = ends[:-1]
    path = path[ends[0] : ends[-1] + 1]
    size = float(np.linalg.norm(np.ptp(path, axis=0)))
    lines = [path[b - ends[0]] - path[a - ends[0]] for a, b in pairwise(ends)]
    number = len(lines)
    round_, turns = loop(path), _turns(path)
    sense = "clockwise" if round_ > 0 else "counter-clockwise"
    closed = float(np.linalg.norm(path[-1] - path[0])) < 0.35 * size
    back = sum(
        float(a @ b) < -0.5 * float(np.linalg.norm(a) * np.linalg.norm(b))
        for a, b in pairwise(lines)
    )
    if abs(turns) > 0.75 and abs(round_) > 0.35:
        if corners(path) >= 2 and number <= 4:
            return f"{who} a {sense} polygon with corners."
        return f"{who} a {sense} circle."
    if number == 1:
        return f"{who} a straight line {_direction(lines[0])}."
    if number == 2:
        ways = f"{_direction(lines[0])} and then {_direction(lines[1])}"
        return f"{who} a line there and back, {ways}." if back else f"{who} a hook, {ways}."
    if number == 3 and _slanting(lines[0]) and _slanting(lines[2]) and _crosses(path):
        return f"{who} a cross of two slanting lines."
    if number == 3 and closed:
        return f"{who} a closed triangle, {sense}."
    if back >= number - 1:
        return f"{who} a zigzag of {count(number, 'stroke')}."
    if closed or abs(round_) > 0.35:
        return f"{who} a closed figure of {count(number, 'stroke')}, {sense}."
    return f"{who} an open figure of {count(number, 'stroke')}."


def even(x: Array) -> Array:
    """Return a plane path (T, 2) as points at equal distances along it, (n, 2): speed is gone."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(x, axis=0), axis=1))])
    places = np.linspace(0, along[-1], POINTS)
    return np.stack([np.interp(places, along, x[:, axis]) for axis in (0, 1)], axis=1)


def _strokes(path: Array, size: float) -> list[Array]:
    """Divide a path (n, 2) into straight strokes."""
    return [path[b] - path[a] for a, b in pairwise(_corners(path, size))]


def _corners(path: Array, size: float) -> list[int]:
    """Return the points between which a path (n, 2) is straight, its ends among them.

    By halving where it is farthest from a line (Ramer, 1972; Douglas and Peucker, 1973).
    """
    ends, spans = {0, len(path) - 1}, [(0, len(path) - 1)]
    while spans:
        first, last = spans.pop()
        if last <= first + 1:
            continue
        line, inner = path[last] - path[first], path[first + 1 : last] - path[first]
        along = np.clip(inner @ line / max(float(line @ line), 1e-12), 0, 1)
        off = np.linalg.norm(inner - along[:, None] * line, axis=1)
        place = int(off.argmax())
        if off[place] > _BEND * size:
            middle = first + 1 + place
            ends.add(middle)
            spans += [(first, middle), (middle, last)]
    return sorted(ends)


def _along(stroke: Array, way: Array) -> bool:
    """Tell whether a stroke goes within 45 degrees of a way."""
    return bool(stroke @ way > 0.7 * np.linalg.norm(stroke) * np.linalg.norm(way))


def _direction(stroke: Array, named: tuple[str, ...] = words.STROKES) -> str:
    turn = np.arctan2(stroke[1], stroke[0]) / (2 * np.pi) * len(named)
    return named[int(np.round(turn)) % len(named)]


def _slanting(stroke: Array) -> bool:
    return bool(np.abs(stroke).min() > 0.5 * np.linalg.norm(stroke))


def _turns(path: Array) -> float:
    """Return the full turns of a path (n, 2), clockwise positive."""
    v = path[2:] - path[:-2]
    angle = np.unwrap(np.arctan2(v[:, 1], v[:, 0]))
    return -float(angle[-1] - angle[0]) / (2 * np.pi)


def _crosses(path: Array) -> bool:
    """Tell whether a path (n, 2) crosses itself."""
    a, step = path[:-1], np.diff(path, axis=0)

    def side(points: Array) -> NDArray[np.float64]:  # of each segment's line, (segments, points)
        apart = points[None] - a[:, None]
        return step[:, None, 0] * apart[..., 1] - step[:, None, 1] * apart[..., 0]

    sides = side(path)
    parted = sides[:, :-1] * sides[:, 1:] < 0
    both = parted & parted.T
    return bool(np.triu(both, 2).any())
