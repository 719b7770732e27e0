"""How the parts of a body relate: contact, symmetry, and where arms, trunk and feet go.

Directions are the body's own. ``w`` is the moving part of the sequence (:func:`.moments.moving`).
"""

from __future__ import annotations

import numpy as np

from c2vl.prompts.rules import words
from c2vl.prompts.rules.measures import LANDMARKS, Array, Body
from c2vl.prompts.rules.whole_motion import activity, raised, reversals
from c2vl.prompts.rules.words import count, phrase
from c2vl.skeletons.joint_names import SIDES


def contact(body: Body, main: int, w: slice) -> str:
    """Word what each hand comes as near to as in a touch."""
    touched = [
        " and ".join(
            name
            for (name, near), gap in zip(LANDMARKS.items(), body.gaps[:, side, w], strict=True)
            if gap.min() < near
        )
        or "nothing"
        for side in (0, 1)
    ]
    if touched[0] == touched[1]:
        return f"both hands touch {touched[0]}."
    said = [f"the {SIDES[side]} hand touches {touched[side]}" for side in (main, 1 - main)]
    return f"{'; '.join(said)}."


def arms(body: Body, w: slice) -> str:
    """Word whether one arm works, both alike, or each in its turn."""
    left, right = (np.diff(body.hand[side, w], axis=0) for side in (0, 1))
    lead = float(np.subtract(*np.log2(np.maximum(activity(body), 1e-6))[::-1]))
    stronger = SIDES[int(lead >= 0)]
    if abs(lead) > 1.6:
        return f"only the {stronger} arm works, the other arm is idle."
    mirrored, parallel = _alike(left * [-1, 1, 1], right), _alike(left, right)
    if mirrored > 0.6 and mirrored >= parallel + 0.1:
        said = "both arms make the same movement, mirrored"
    elif parallel > 0.6:
        said = "both arms move together in the same direction"
    elif min(mirrored, _alike(left[:, 1:], right[:, 1:])) < -0.2:
        said = "the arms alternate, one against the other"
    else:
        said = "the arms move independently of each other"
    return f"{said}." if abs(lead) < 0.6 else f"{said}, the {stronger} arm more."


def legs(body: Body, w: slice) -> str:
    """Word whether one leg bends, both together, or in turn."""
    knee = body.knee[:, w]
    bend = np.ptp(knee, axis=1)
    if bend.max() < 15:
        return "both legs stand still."
    if bend.max() > 2.2 * bend.min():
        return f"only the {SIDES[int(bend.argmax())]} leg bends."
    both = _alike(*(knee - np.median(knee, axis=1, keepdims=True)))
    if both > 0.6:
        return "both legs bend and stretch together."
    return "the legs alternate." if both < -0.1 else "the legs bend one after the other."


def _alike(a: Array, b: Array) -> float:
    """Return the cosine of two motions of one shape."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / max(size, 1e-9)


def plane(body: Body, side: int) -> str:
    """Word the axes of the body along which an arm moves most."""
    x = body.hand[side][raised(body, side)]
    room = np.quantile(x, 0.95, axis=0) - np.quantile(x, 0.05, axis=0)
    if np.linalg.norm(room) < 0.2:
        return f"the {SIDES[side]} arm takes no room."
    axes = ("sideways", "up and down", "forward and back")
    most = [axes[axis] for axis in np.argsort(-room) if room[axis] > 0.6 * room.max()]
    return f"the {SIDES[side]} arm moves mainly {' and '.join(most)}."


def forearm(body: Body, side: int) -> str:
    """Word whether the forearm works alone or the whole arm, and how high the elbow is."""
    w = raised(body, side)
    elbow, hand = (
        float(np.linalg.norm(np.diff(x[side, w], axis=0), axis=1).sum())
        for x in (body.elbow_at, body.hand)
    )
    height = phrase(words.ELBOW_HEIGHT, float(np.median(body.elbow_at[side, w, 1])))
    return f"on the {SIDES[side]} {phrase(words.FOREARM, elbow / max(hand, 1e-6))}, {height}."


def trunk(body: Body, w: slice) -> str:
    """Word how far the trunk bends and when, its tilt and the turn of the shoulders."""
    lean = body.lean[w] - np.median(body.lean[: max(1, len(body.lean) // 10)], axis=0)
    bent, tilted = (int(np.abs(lean[:, axis]).argmax()) for axis in (1, 0))
    said = phrase(words.BEND, float(lean[bent, 1]))
    if said != words.BEND.phrases[1]:
        said += f" {phrase(words.WHEN, bent / len(lean))}"
    turn = body.turn[w]
    tilt = phrase(words.TILT, float(lean[tilted, 0]))
    turned = phrase(words.SHOULDERS, float(turn[np.abs(turn).argmax()]))
    return f"the trunk {said}{tilt and ', '}{tilt}; the shoulders {turned}."


def feet(body: Body, main: int, w: slice) -> str:
    """Word how far each foot is lifted, where to, and how often."""
    start = body.foot[:, : max(1, body.foot.shape[1] // 10)]
    moved = body.foot[:, w] - np.median(start, axis=1, keepdims=True)
    said = []
    for foot in moved:
        lifted = phrase(words.LIFT, float(foot[:, 1].max()))
        ahead = float(foot[np.abs(foot[:, 2]).argmax(), 2])
        way = phrase(words.FOOT_WAY, ahead)
        aside = "to the side" if np.abs(foot[:, 0]).max() > 0.2 else ""
        lifts = (reversals(foot[:, 1], 0.06) + 1) // 2
        often = count(lifts, "time") if lifts > 1 else ""
        said.append(" ".join(part for part in (lifted, way, aside, often) if part))
    if said[0] == said[1]:
        return f"each foot {said[0]}."
    return f"{'; '.join(f'the {SIDES[i]} foot {said[i]}' for i in (main, 1 - main))}."


def travel(body: Body) -> str:
    """Word where the person goes from the first place, how far, and whether back."""
    place = body.place[:, [0, 2]]
    far = place[np.linalg.norm(place, axis=1).argmax()]
    way = float(np.linalg.norm(far))
    if way < 0.15:
        return "the person stays on the spot."
    if abs(far[0]) > abs(far[1]):
        where = f"sideways to the {SIDES[int(far[0] > 0)]}"
    else:
        where = "forward" if far[1] > 0 else "backward"
    back = " and returns" if np.linalg.norm(place[-1]) < 0.5 * way else ""
    return f"the person moves {where} by {phrase(words.DISTANCE, way)}{back}."
