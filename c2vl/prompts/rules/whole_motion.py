"""What a motion is as a whole, in phrases: path, reach, rhythm, hands together, legs, trunk."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from c2vl.prompts.rules.measures import SIDES, Array, Body
from c2vl.prompts.rules.words import (
    ACROSS,
    CIRCLES,
    CORNERS,
    COUNT,
    ELBOW,
    FORWARD,
    HEIGHT,
    LEAN,
    LOOPS,
    OUTWARD,
    PACE,
    PEAK,
    PROFILE,
    RANGE,
    REACH,
    REPEATS,
    ROOM,
    SINK,
    STEP,
    TEMPO,
    TURN,
    WHO,
    WIDE,
    directions,
    word,
)


def gist(body: Body) -> list[str]:
    """Return the whole motion's phrases; each is a clause that can end a sentence."""
    share = activity(body)
    main = main_hand(body)
    return [
        path(body, main),
        reach(body, main),
        turning(body, main),
        rhythm(body, main),
        together(body, share),
        legs(body),
        region(body, main),
        elbows(body, main),
        posture(body),
    ]


def main_hand(body: Body) -> int:
    """The hand that moves more: 0 left, 1 right."""
    share = activity(body)
    return int(share[1] >= share[0])


def activity(body: Body) -> Array:
    """How much each hand moves: its mean speed, arm lengths a second, (2,)."""
    return np.asarray(np.linalg.norm(np.diff(body.hand, axis=1), axis=-1).mean(axis=1) * body.fps)


def raised(body: Body, side: int) -> slice:
    """The frames in which a hand works: from its first leaving of rest to its return."""
    x = body.hand[side]
    away = np.linalg.norm(x - x[: max(1, len(x) // 12)].mean(axis=0), axis=-1)
    frames = np.flatnonzero(away >= 0.45 * away.max())  # all of them where it never leaves
    return slice(int(frames[0]), int(frames[-1]) + 1)


def path(body: Body, side: int) -> str:
    """The strokes of a hand in order."""
    w = raised(body, side)
    x = body.hand[side][max(w.start - 3, 0) : w.stop + 3]
    marks = x[np.linspace(0, len(x) - 1, 7).round().astype(int)]
    strokes: list[str] = []
    for step in np.diff(marks, axis=0):
        said = directions(step, 0.12)
        if said and (not strokes or strokes[-1] != said):
            strokes.append(said)
    return f"the {SIDES[side]} hand goes " + (", then ".join(strokes) or "hardly anywhere")


def turning(body: Body, side: int) -> str:
    """Round or straight seen from in front and from the side, and which way round."""
    x = body.hand[side][raised(body, side)]
    front, profile = loop(x[:, :2]), loop(x[:, [2, 1]])
    turns = abs(turned(x[:, :2]))
    shape = word(LOOPS, front)
    if turns > 1.0 and abs(front) > 0.2:
        shape = word(CIRCLES, front)
    return (
        f"the {SIDES[side]} hand draws {shape}, {word(CORNERS, corners(x[:, :2]))}, "
        f"{word(PROFILE, profile)}"
    )


def turned(x: Array) -> float:
    """Full turns of a plane path's heading, clockwise positive; slow frames say nothing."""
    if len(x) < 2:
        return 0.0
    v = np.diff(x, axis=0)
    speed = np.linalg.norm(v, axis=1)
    v = v[speed > 0.3 * np.median(speed)]
    change = np.diff(np.arctan2(v[:, 1], v[:, 0]))
    change = (change + np.pi) % (2 * np.pi) - np.pi
    return -float(change[np.abs(change) < 2].sum()) / (2 * np.pi)


def corners(x: Array) -> int:
    """How often a plane path turns sharply, by more than 70 degrees within an eighth of it."""
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
    """Signed roundness of a plane path (T, 2): 1 is one clockwise circle, 0 a line."""
    closed = np.vstack([x, x[:1]])
    a, b = closed[:-1], closed[1:]
    area = 0.5 * float(np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
    around = float(np.linalg.norm(np.diff(closed, axis=0), axis=1).sum())
    return -area * 4 * np.pi / max(around, 0.5) ** 2


def reach(body: Body, side: int) -> str:
    """Where a hand gets to, and how fast at most."""
    x = body.hand[side]
    sign = 1 if side else -1
    out = x[:, 0] * sign
    speed = np.linalg.norm(np.diff(x, axis=0), axis=-1) * body.fps
    when = ("early", "midway", "late")[min(2, int(speed.argmax() / len(speed) * 3))]
    return (
        f"the {SIDES[side]} hand rises {word(HEIGHT, float(body.height[side].max()))}, "
        f"reaches {word(REACH, float(x[:, 2].max()))}, "
        f"{word(WIDE, float(out.max()))} and {word(ACROSS, float(out.min()))}, "
        f"{word(PEAK, float(speed.max()))} {when}"
    )


def rhythm(body: Body, side: int) -> str:
    """How often a hand turns back, and along which line."""
    x = body.hand[side][raised(body, side)]
    quick = x - uniform_filter1d(x, max(3, round(0.7 * body.fps)), axis=0, mode="nearest")
    axis = int(np.abs(np.diff(quick, axis=0)).sum(axis=0).argmax())
    line = ("from side to side", "up and down", "forward and back")[axis]
    count = reversals(x[:, axis], 0.07)
    pace = count / max(len(x) / body.fps, 0.3)
    return f"the {SIDES[side]} hand makes {word(REPEATS, count)} {line}, {word(TEMPO, pace)}"


def region(body: Body, side: int) -> str:
    """Where a hand works, and how much room it takes."""
    w = raised(body, side)
    x = body.hand[side][w]
    place = np.median(x, axis=0)
    low, high = np.quantile(x, 0.15, axis=0), np.quantile(x, 0.85, axis=0)
    where = (
        word(HEIGHT, float(np.median(body.height[side][w]))),
        word(OUTWARD, float(place[0]) * (1 if side else -1)),
        word(FORWARD, float(place[2])),
    )
    told = ", ".join(phrase for phrase in where if phrase)
    across, up, ahead = high - low
    return (
        f"the {SIDES[side]} hand works {told}, {word(ROOM, float(across))} from side to side, "
        f"{word(ROOM, float(up))} up and down, {word(ROOM, float(ahead))} forward and back"
    )


def elbows(body: Body, side: int) -> str:
    """How the arms fold."""
    main, other = body.elbow[side], body.elbow[1 - side]
    w = raised(body, side)
    return (
        f"the {SIDES[side]} elbow {word(RANGE, float(np.ptp(main)))} and is "
        f"{word(ELBOW, float(np.median(main[w])))} at work, the {SIDES[1 - side]} elbow "
        f"{word(RANGE, float(np.ptp(other)))}"
    )


def reversals(x: Array, least: float) -> int:
    """How often a signal turns back by more than ``least``."""
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


def together(body: Body, share: Array) -> str:
    """Which hands work, and where they meet."""
    apart = np.linalg.norm(body.hand[0] - body.hand[1], axis=-1)
    closest = int(apart.argmin())
    ratio = float(share[1] / max(share[0], 1e-6))
    who = word(WHO, float(np.log2(max(ratio, 1e-6))))
    over = float((body.hand[1, :, 0] - body.hand[0, :, 0]).min())
    level = word(HEIGHT, float(body.height[:, closest].mean()))
    if over < -0.15:
        met = f"the arms cross {level}"
    elif apart[closest] < 0.3:
        met = f"the hands meet {level}"
    elif apart[closest] < 0.6:
        met = f"the hands come near each other {level}"
    else:
        met = "the hands stay apart"
    return f"{who}, {met}"


def posture(body: Body) -> str:
    """Standing, sinking, rising; lean and turning of the trunk."""
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
        tale = f"the body {word(SINK, top - low)}"
    lean = float(body.lean[:, 1].max() - np.median(body.lean[:n, 1]))
    turn = body.turn[np.abs(body.turn).argmax()]
    return f"{tale}, the trunk {word(LEAN, lean)} and {word(TURN, float(turn))}"


def legs(body: Body) -> str:
    """Steps, lunges and travel."""
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
        told = f"the legs step in turn, {word(PACE, pace)}, {word(COUNT, count)}"
    elif abs(step) > 0.12:
        told = f"{word(STEP, abs(step))} with the {foot} foot forward"
    else:
        told = "the feet stay in place"
    if not moved:
        return told
    back = " and comes back" if travel < 0.2 else ""
    return f"{told}, and the body moves {moved}{back}"
