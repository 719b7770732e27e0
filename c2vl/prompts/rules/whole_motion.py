"""Phrases on a whole motion: path, reach, rhythm, hands together, legs, trunk."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from c2vl.prompts.rules import words
from c2vl.prompts.rules.measures import Array, Body
from c2vl.prompts.rules.words import directions, phrase
from c2vl.skeletons.joint_names import SIDES


def whole_motion(body: Body) -> list[str]:
    """Return phrases on the whole motion; each is a clause that can end a sentence."""
    main = main_hand(body)
    return [
        path(body, main),
        reach(body, main),
        turning(body, main),
        rhythm(body, main),
        hands_together(body),
        legs(body),
        region(body, main),
        elbows(body, main),
        posture(body),
    ]


def main_hand(body: Body) -> int:
    """Return the hand that moves more: 0 left, 1 right."""
    left, right = activity(body)
    return int(right >= left)


def activity(body: Body) -> Array:
    """Return the mean speed of each hand, arm lengths a second, (2,)."""
    return np.asarray(np.linalg.norm(np.diff(body.hand, axis=1), axis=-1).mean(axis=1) * body.fps)


def raised(body: Body, side: int, share: float = 0.45) -> slice:
    """Return the frames in which a hand is away from where it starts, by a share of the most."""
    x = body.hand[side]
    away = np.linalg.norm(x - x[: max(1, len(x) // 12)].mean(axis=0), axis=-1)
    frames = np.flatnonzero(away >= share * away.max())  # all of them where it never leaves
    return slice(int(frames[0]), int(frames[-1]) + 1)


def path(body: Body, side: int) -> str:
    """Word the strokes of a hand in order."""
    w = raised(body, side)
    x = body.hand[side][max(w.start - 3, 0) : w.stop + 3]
    return way(side, x[np.linspace(0, len(x) - 1, 7).round().astype(int)])


def way(side: int, marks: Array) -> str:
    """Word the directions from mark to mark (n, 3) of a hand."""
    strokes: list[str] = []
    for step in np.diff(marks, axis=0):
        said = directions(step, 0.12)
        if said and (not strokes or strokes[-1] != said):
            strokes.append(said)
    return f"the {SIDES[side]} hand goes " + (", then ".join(strokes) or "hardly anywhere")


def turning(body: Body, side: int) -> str:
    """Word the shape of a hand's path, seen from in front and from the side."""
    x = body.hand[side][raised(body, side)]
    front, profile = loop(x[:, :2]), loop(x[:, [2, 1]])
    turns = abs(turned(x[:, :2]))
    shape = phrase(words.LOOPS, front)
    if turns > 1.0 and abs(front) > 0.2:
        shape = phrase(words.CIRCLES, front)
    return (
        f"the {SIDES[side]} hand draws {shape}, {phrase(words.CORNERS, corners(x[:, :2]))}, "
        f"{phrase(words.PROFILE, profile)}"
    )


def turned(x: Array) -> float:
    """Count the full turns of a plane path (T, 2), clockwise positive; slow frames do not count."""
    if len(x) < 2:
        return 0.0
    v = np.diff(x, axis=0)
    speed = np.linalg.norm(v, axis=1)
    v = v[speed > 0.3 * np.median(speed)]
    change = np.diff(np.arctan2(v[:, 1], v[:, 0]))
    change = (change + np.pi) % (2 * np.pi) - np.pi
    return -float(change[np.abs(change) < 2].sum()) / (2 * np.pi)


def corners(x: Array) -> int:
    """Count the sharp turns of a plane path (T, 2): over 70 degrees within an eighth of it."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(x, axis=0), axis=1))])
    if along[-1] < 0.3:
        return 0
    even = np.linspace(0, along[-1], 33)
    points = np.stack([np.interp(even, along, x[:, axis]) for axis in (0, 1)], axis=1)
    v = points[2:] - points[:-2]
    change = np.angle(np.exp(1j * np.diff(np.arctan2(v[:, 1], v[:, 0]))))
    within = np.abs(np.convolve(change, np.ones(3), mode="same"))
    peak = within > np.radians(70)
    for shift in (-2, -1, 1, 2):
        peak &= within >= np.roll(within, shift)
    return int(peak.sum())


def loop(x: Array) -> float:
    """Return the signed roundness of a plane path (T, 2): 1 is a clockwise circle, 0 a line."""
    closed = np.vstack([x, x[:1]])
    a, b = closed[:-1], closed[1:]
    area = 0.5 * float(np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
    around = float(np.linalg.norm(np.diff(closed, axis=0), axis=1).sum())
    return -area * 4 * np.pi / max(around, 0.5) ** 2


def reach(body: Body, side: int) -> str:
    """Word the extremes of a hand: height, reach, side, and when it is fastest."""
    x = body.hand[side]
    sign = 1 if side else -1
    out = x[:, 0] * sign
    speed = np.linalg.norm(np.diff(x, axis=0), axis=-1) * body.fps
    when = ("early", "midway", "late")[min(2, int(speed.argmax() / len(speed) * 3))]
    return (
        f"the {SIDES[side]} hand rises {phrase(words.HEIGHT, float(body.height[side].max()))}, "
        f"reaches {phrase(words.REACH, float(x[:, 2].max()))}, "
        f"{phrase(words.WIDE, float(out.max()))} and {phrase(words.ACROSS, float(out.min()))}, "
        f"{phrase(words.PEAK, float(speed.max()))} {when}"
    )


def rhythm(body: Body, side: int) -> str:
    """Word how often a hand turns back, and along which axis."""
    x = body.hand[side][raised(body, side)]
    quick = x - uniform_filter1d(x, max(3, round(0.7 * body.fps)), axis=0, mode="nearest")
    axis = int(np.abs(np.diff(quick, axis=0)).sum(axis=0).argmax())
    line = ("from side to side", "up and down", "forward and back")[axis]
    count = reversals(x[:, axis], 0.07)
    pace = count / max(len(x) / body.fps, 0.3)
    repeats, tempo = phrase(words.REPEATS, count), phrase(words.TEMPO, pace)
    return f"the {SIDES[side]} hand makes {repeats} {line}, {tempo}"


def region(body: Body, side: int) -> str:
    """Word where a hand works, and how much room it takes."""
    w = raised(body, side)
    x = body.hand[side][w]
    place = np.median(x, axis=0)
    low, high = np.quantile(x, 0.15, axis=0), np.quantile(x, 0.85, axis=0)
    where = location(side, float(np.median(body.height[side][w])), place)
    across, up, ahead = (phrase(words.ROOM, float(room)) for room in high - low)
    return (
        f"the {SIDES[side]} hand works {where}, {across} from side to side, "
        f"{up} up and down, {ahead} forward and back"
    )


def location(side: int, height: float, place: Array) -> str:
    """Word where a hand is: its height, and its place (3,) from the chest."""
    clause = (
        phrase(words.HEIGHT, height),
        phrase(words.OUTWARD, float(place[0]) * (1 if side else -1)),
        phrase(words.FORWARD, float(place[2])),
    )
    return ", ".join(text for text in clause if text)


def elbows(body: Body, side: int) -> str:
    """Word how the elbows bend."""
    main, other = body.elbow[side], body.elbow[1 - side]
    w = raised(body, side)
    return (
        f"the {SIDES[side]} elbow {phrase(words.RANGE, float(np.ptp(main)))} and is "
        f"{phrase(words.ELBOW, float(np.median(main[w])))} at work, the {SIDES[1 - side]} elbow "
        f"{phrase(words.RANGE, float(np.ptp(other)))}"
    )


def reversals(x: Array, least: float) -> int:
    """Count how often a signal (T,) turns back by more than ``least``."""
    count, sign, last = 0, 0, x[0]
    for value in x:
        if (sign >= 0 and value > last) or (sign <= 0 and value < last):
            if sign == 0 and abs(value - last) > least:
                sign = 1 if value > last else -1
                last = value
            elif sign:
                last = value
        elif abs(value - last) > least:
            sign, last, count = -sign, value, count + 1
    return count


def hands_together(body: Body) -> str:
    """Word which hands work, and where they meet."""
    left, right = activity(body)
    ratio = float(right / max(left, 1e-6))
    return f"{phrase(words.WHO, float(np.log2(max(ratio, 1e-6))))}, {meeting(body)}"


def meeting(body: Body) -> str:
    """Word whether the hands meet or the arms cross, and where."""
    apart = np.linalg.norm(body.hand[0] - body.hand[1], axis=-1)
    closest = int(apart.argmin())
    over = float((body.hand[1, :, 0] - body.hand[0, :, 0]).min())
    level = phrase(words.HEIGHT, float(body.height[:, closest].mean()))
    if over < -0.15:
        return f"the arms cross {level}"
    if apart[closest] < 0.3:
        return f"the hands meet {level}"
    if apart[closest] < 0.6:
        return f"the hands come near each other {level}"
    return "the hands stay apart"


def posture(body: Body) -> str:
    """Word standing, sinking or rising; lean and turn of the trunk."""
    n = max(1, len(body.pelvis) // 10)
    start, end = float(body.pelvis[:n].mean()), float(body.pelvis[-n:].mean())
    low = float(body.pelvis.min())
    top = max(start, end)
    change = end - start
    if change > 0.12:
        tale = "the body rises from sitting low to standing tall"
    elif change < -0.12:
        tale = "the body sinks from standing tall to sitting low"
    else:
        tale = f"the body {phrase(words.SINK, top - low)}"
    lean = float(body.lean[:, 1].max() - np.median(body.lean[:n, 1]))
    turn = body.turn[np.abs(body.turn).argmax()]
    return f"{tale}, the trunk {phrase(words.LEAN, lean)} and {phrase(words.TURN, float(turn))}"


def legs(body: Body) -> str:
    """Word steps, lunges and travel."""
    gap = body.foot[1, :, 2] - body.foot[0, :, 2]
    gap = gap - gap[: max(1, len(gap) // 10)].mean()
    step = float(gap[np.abs(gap).argmax()])
    travel = float(np.linalg.norm(body.place[-1, [0, 2]]))
    count = reversals(body.knee[1] - body.knee[0], 12)
    away = body.place[int(np.linalg.norm(body.place, axis=1).argmax())]
    moved = directions(away * [1, 0, 1], 0.3)
    foot = "right" if step > 0 else "left"
    if min(float(gap.max()), float(-gap.min())) > 0.06 and count >= 3:
        pace = count / len(gap) * body.fps
        clause = f"the legs step in turn, {phrase(words.PACE, pace)}, {phrase(words.COUNT, count)}"
    elif abs(step) > 0.12:
        clause = f"{phrase(words.STEP, abs(step))} with the {foot} foot forward"
    else:
        clause = "the feet stay in place"
    if not moved:
        return clause
    back = " and comes back" if travel < 0.2 else ""
    return f"{clause}, and the body moves {moved}{back}"
