from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c2vl.prompts.rules.captions import NOBODY
from c2vl.prompts.rules.sentences import PARTNER, SENTENCES, sentences
from c2vl.skeletons.layout import KINECT20, NTU25, JointLayout
from tests.prompts.figures import circling, raising, squatting, standing, with_hand

LAYOUTS = pytest.mark.parametrize("layout", [KINECT20, NTU25], ids=lambda layout: layout.name)
SECONDS = 2.0
Numbers = NDArray[np.float64]


def _told(joints: NDArray[np.floating], layout: JointLayout = NTU25) -> dict[str, list[str]]:
    rest = iter(sentences(joints, layout))
    return {rule: [next(rest) for _ in range(number)] for rule, number in SENTENCES.items()}


def _drawn(*corners: tuple[float, float]) -> NDArray[np.float32]:
    """The right hand goes from the thigh along straight lines between (right, up), and back."""
    rest = (0.24, -0.6)
    marks = np.array([rest, rest, *corners, rest])
    frames = np.linspace(0, len(marks) - 1, 30 * len(marks))
    plane = [np.interp(frames, np.arange(len(marks)), marks[:, axis]) for axis in (0, 1)]
    depth = np.interp(frames, [0, 1, 2, len(marks) - 2, len(marks) - 1], [0, 0, 0.4, 0.4, 0])
    return with_hand(NTU25, "right", np.stack([*plane, depth], axis=1))


@LAYOUTS
def test_every_motion_has_as_many_sentences(layout: JointLayout) -> None:
    number = sum(SENTENCES.values())
    for joints in (raising(layout, "left"), squatting(layout), standing(layout)):
        assert len(sentences(joints, layout)) == number
    nobody = np.zeros((1, 5, len(layout.joints), 3))
    assert set(sentences(nobody, layout)) == {NOBODY}
    for frames in (1, 2, 3, 5):
        assert len(sentences(raising(layout, "right")[:, :frames], layout)) == number


def test_figures_and_strokes() -> None:
    cross = _drawn((0.5, 0.4), (0.0, -0.1), (0.0, 0.4), (0.5, -0.1))
    told = _told(cross)
    assert told["figure"] == ["The right hand draws a cross of two slanting lines."]
    assert "goes down to the left, then straight up" in told["strokes"][3]
    assert told["strokes"][4] == "The left hand hardly moves."
    triangle = _drawn((0.25, 0.5), (0.0, 0.0), (0.5, 0.0), (0.25, 0.5))
    assert re.search("counter-clockwise polygon|triangle, counter", _told(triangle)["figure"][0])
    for turns, sense in ((1.3, "a clockwise circle"), (-1.3, "a counter-clockwise circle")):
        assert sense in _told(circling(NTU25, turns))["figure"][0]
    assert _told(standing(NTU25))["figure"][0] == "The right hand draws nothing in the air."


def test_stages_contact_symmetry_repetition() -> None:
    told = _told(raising(NTU25, "right"))
    assert "hands are hanging down by the thigh" in told["stages"][0]
    assert "right hand is above the head" in told["stages"][2]
    assert told["symmetry"][0] == "Only the right arm works, the other arm is idle."
    assert "single movement" in told["repetition"][0]
    waves = np.stack([0.4 + 0.25 * np.sin(np.linspace(0, 6 * np.pi, 90)), *np.full((2, 90), 0.4)])
    assert "three times" in _told(with_hand(NTU25, "right", waves.T))["repetition"][0]
    way = np.sin(np.linspace(0, np.pi, 60))[:, None]
    to_head = np.array([0.24, -0.6, 0]) * (1 - way) + np.array([0.05, 0.24, 0]) * way
    touched = _told(with_hand(NTU25, "right", to_head))["contact"][0]
    assert "the right hand touches the head" in touched.lower()
    assert "the left hand touches nothing" in touched.lower()
    down = _told(squatting(NTU25))
    assert "goes deep down in between" in down["postures"][1] and "together" in down["symmetry"][1]


def test_two_persons() -> None:
    first, second = raising(NTU25, "right"), standing(NTU25)
    second[..., 0] += np.linspace(2.5, 0.6, second.shape[1])[None, :, None]
    alone, number = sentences(first, NTU25, partner=True), sum(SENTENCES.values())
    both = sentences(np.concatenate([second, first]), NTU25, partner=True)
    assert len(alone) == len(both) == number + PARTNER["partner"]
    assert both[:number] == alone[:number] == sentences(first, NTU25)
    assert set(alone[number:]) == {"Nobody else is to be seen."}
    assert "a step apart, coming quickly nearer" in both[number]
    assert "close together" in both[number + 2]
    assert sum("the other person" in text.lower() for text in both) == 3


@st.composite
def motions(draw: st.DrawFn) -> Numbers:
    """A person's hands on smooth paths, knees that bend, a heading: a function of time, sampled.

    Returns:
        Coefficients (3 waves, 8) of :func:`_moved`.
    """
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).normal(size=(3, 8)) / np.array([[1.0], [1.5], [2.0]])


def _moved(waves: Numbers, fps: float = 30) -> Numbers:
    """Sample a motion, (1, T, V, 3)."""
    t = np.arange(0, SECONDS, 1 / fps) / SECONDS
    phase = np.pi * np.arange(1, 4)[:, None] * t
    course = np.einsum("wk,wt->tk", waves, np.sin(phase))  # zero at the start
    joints = standing(NTU25, len(t)).astype(np.float64)
    for side, sign, own in (("left", -1, course[:, :3]), ("right", 1, course[:, 3:6])):
        path = np.array([0.24 * sign, -0.5, 0.05]) + own * [0.25, 0.35, 0.25]
        hand = with_hand(NTU25, side, path)
        for number, name in enumerate(NTU25.joints):
            if name.startswith(side) and not re.search("hip|knee|ankle|foot", name):
                joints[0, :, number] = hand[0, :, number]
    depth = 0.1 * np.abs(course[:, 6])
    for number, name in enumerate(NTU25.joints):
        if not re.search("ankle|foot|knee", name):
            joints[0, :, number, 1] -= depth
    joints[..., 0] += 0.1 * course[:, 7][None, :, None]
    return joints


@given(motions(), st.floats(-3.1, 3.1), st.floats(0.5, 2.0), st.floats(-2, 2))
@settings(max_examples=40, deadline=None)
def test_neither_view_nor_size_changes_a_caption(
    waves: Numbers, angle: float, scale: float, shift: float
) -> None:
    joints = _moved(waves)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    other = (joints - [0, 0, 3]) @ turn.T * scale + [shift, 0.3 * shift, 4.0]
    assert sentences(other, NTU25) == sentences(joints, NTU25)


_SWAPPED = {
    "left": "right",
    "right": "left",
    "clockwise": "counter-clockwise",
    "counter-clockwise": "clockwise",
    # Of a full circle the rules tell one sense in other words than the other.
    "a full circle leftwards against the clock": "a full clockwise circle like a wheel rolling to "
    "the right",
    "a full clockwise circle like a wheel rolling to the right": "a full circle leftwards against "
    "the clock",
}
_WORDS = re.compile("|".join(rf"\b{said}\b" for said in sorted(_SWAPPED, key=len)[::-1]))


@given(motions())
@settings(max_examples=40, deadline=None)
def test_a_mirrored_motion_swaps_left_and_right(waves: Numbers) -> None:
    joints = _moved(waves)
    mirrored = joints[:, :, list(NTU25.mirrored)] * [-1, 1, 1]
    swapped = [
        _WORDS.sub(lambda found: _SWAPPED[found[0]], text) for text in sentences(joints, NTU25)
    ]
    assert sentences(mirrored, NTU25) == swapped


def test_the_frame_rate_changes_little() -> None:
    """A grade's bound may lie between frames, and of two busy hands either may be the busier."""
    same = []
    for seed in range(15):
        waves = np.random.default_rng(seed).normal(size=(3, 8)) / [[1.0], [1.5], [2.0]]
        told = sentences(_moved(waves), NTU25)
        for fps in (20, 60):
            other = sentences(_moved(waves, fps), NTU25, fps=fps)
            same.append(np.mean([a == b for a, b in zip(told, other, strict=True)]))
    assert np.mean(same) > 0.85
