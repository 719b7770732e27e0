from __future__ import annotations

import numpy as np
import pytest

from c2vl.prompts.rules.captions import captions
from c2vl.skeletons.layout import KINECT20, NTU25, JointLayout
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.prompts.figures import circling, raising, squatting, standing

LAYOUTS = pytest.mark.parametrize("layout", [KINECT20, NTU25], ids=lambda layout: layout.name)


@LAYOUTS
def test_each_sequence_has_its_number_of_captions(layout: JointLayout) -> None:
    told = captions(raising(layout, "right"), layout)
    assert len(told) == 16
    assert told == captions(raising(layout, "right"), layout)
    assert len(captions(raising(layout, "right"), layout, windows=4)) == 4
    assert told[0].split(". ")[1].startswith("At first")
    assert told[-1].split(". ")[1].startswith("At last")


@LAYOUTS
def test_left_and_right_are_the_persons_own(layout: JointLayout) -> None:
    right = " ".join(captions(raising(layout, "right"), layout))
    left = " ".join(captions(raising(layout, "left"), layout))
    assert "right hand goes up" in right and "left hand goes up" not in right
    assert "left hand goes up" in left and "right hand goes up" not in left
    assert "above the head" in right and "above the head" in left


@LAYOUTS
def test_circles_have_a_sense(layout: JointLayout) -> None:
    clockwise = " ".join(captions(circling(layout, 1.3), layout))
    other = " ".join(captions(circling(layout, -1.3), layout))
    assert "clockwise circle like a wheel rolling to the right" in clockwise
    assert "circle leftwards against the clock" in other
    assert "leftwards against" not in clockwise


@LAYOUTS
def test_a_squat_is_told_of_the_body(layout: JointLayout) -> None:
    told = " ".join(captions(squatting(layout), layout))
    assert "squats" in told and "the body sinks" in told and "the body rises" in told
    assert told.index("the body sinks") < told.index("the body rises")
    assert "squats" not in " ".join(captions(raising(layout, "left"), layout))


@pytest.mark.parametrize("angle", [0.5, 2.0, -2.8])
def test_camera_place_and_size_do_not_matter(angle: float) -> None:
    joints = circling(NTU25, 1.3)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    moved = (joints - [0, 0, 3]) @ turn.T * 1.25 + [0.7, 0.2, 3.5]
    same = np.mean([a == b for a, b in zip(*_both(joints, moved), strict=True)])
    assert same >= 0.8  # a value on a level's bound may fall to either side


def _both(a: np.ndarray, b: np.ndarray) -> tuple[list[str], list[str]]:
    return captions(a, NTU25), captions(b.astype(np.float32), NTU25)


def test_absent_bodies() -> None:
    joints = raising(NTU25, "right")
    alone = captions(joints, NTU25)
    assert captions(np.concatenate([joints, np.zeros_like(joints)]), NTU25) == alone
    assert set(captions(np.zeros_like(joints), NTU25)) == {"Nobody is to be seen."}
    gap = joints.copy()
    gap[:, 20:24] = 0
    assert len(captions(gap, NTU25)) == 16
    for frames in (1, 2, 5):
        assert len(captions(joints[:, :frames], NTU25)) == 16
    assert len(captions(standing(NTU25), NTU25)) == 16


def test_two_persons_take_turns_and_come_nearer() -> None:
    first, second = raising(NTU25, "right"), standing(NTU25)
    second[..., 0] += np.linspace(2.5, 0.6, second.shape[1])[None, :, None]
    told = captions(np.concatenate([first, second]), NTU25)
    text = " ".join(told)
    assert sum(line.startswith("The other person: ") for line in told) == 8
    assert "far apart" in told[0] and "coming quickly nearer" in text
    assert "close together" in told[-1]


def test_a_layout_without_the_joints_is_refused() -> None:
    layout = JointLayout("stub", ("root", "tip"), (0, 0), (), 0, (0, 1))
    with pytest.raises(UserError, match="captions need left_shoulder, left_elbow"):
        captions(np.ones((1, 4, 2, 3)), layout)


def test_real_captions_are_not_shared_by_everything(utd_store: Store) -> None:
    from c2vl.prompts.language_table import count
    from c2vl.prompts.rules.kinematic_table import caption_store

    counts = count(caption_store(utd_store))
    assert counts["distinct_captions"] > 0.8 * 16 * len(utd_store)
    assert counts["most_shared_caption"] < 0.1
