from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c2vl.skeletons.conversion import ALIASES, RULES, convert, correspondence
from c2vl.skeletons.layout import KINECT20, LAYOUTS, MSR20, NTU25, NWUCLA20, JointLayout
from c2vl.support.errors import UserError

KINECTS = (NTU25, KINECT20, NWUCLA20, MSR20)
METRES = st.floats(-8, 8, width=32)


def sequence(layout: JointLayout, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    draw = np.random.default_rng(len(layout.joints))
    return draw.normal(size=(*shape, len(layout.joints), 3)).astype(np.float32)


def without(layout: JointLayout, *names: str) -> JointLayout:
    """The layout less some joints; what hung on them hangs on the root."""
    joints = tuple(name for name in layout.joints if name not in names)
    return JointLayout("fewer", joints, (0,) * len(joints), (), 0, (0, 1))


@pytest.mark.parametrize(("a", "b"), list(itertools.permutations(KINECTS, 2)))
def test_common_joints_come_back_exactly(a: JointLayout, b: JointLayout) -> None:
    x = sequence(a)
    back = convert(convert(x, a, b), b, a)
    for place, origin in enumerate(correspondence(b, a)):
        if origin.how != "placed":
            np.testing.assert_array_equal(back[..., place, :], x[..., place, :])
    kept = {origin.joint for origin in correspondence(b, a) if origin.how != "placed"}
    assert len(kept) == 20


def test_kinect_to_ntu_in_closed_form() -> None:
    x = sequence(KINECT20)
    y = convert(x, KINECT20, NTU25)
    at = dict(zip(KINECT20.joints, np.moveaxis(x, 2, 0), strict=True))
    expected = {name: at[name] for name in NTU25.joints if name in at}
    expected["spine_base"], expected["spine_mid"] = at["hip_center"], at["spine"]
    expected["spine_shoulder"] = at["shoulder_center"]
    for side in ("left", "right"):
        expected[f"{side}_hand_tip"] = expected[f"{side}_thumb"] = at[f"{side}_hand"]
    neck = at["shoulder_center"] + (at["head"] - at["shoulder_center"]) / 3
    assert set(NTU25.joints) - set(expected) == {"neck"}
    for place, name in enumerate(NTU25.joints):
        if name == "neck":
            np.testing.assert_allclose(y[:, :, place], neck, atol=1e-6)
        else:
            np.testing.assert_array_equal(y[:, :, place], expected[name])


def test_both_kinect_v1_orders_hold_the_same_joints() -> None:
    how = {origin.how for origin in correspondence(KINECT20, NWUCLA20)}
    assert how == {"same"}
    x = sequence(NWUCLA20)
    y = convert(x, NWUCLA20, KINECT20)
    np.testing.assert_array_equal(y[:, :, 0], x[:, :, 3])  # head
    np.testing.assert_array_equal(y[:, :, 3], x[:, :, 0])  # hip centre


def test_the_table_says_where_each_joint_comes_from() -> None:
    table = {origin.joint: origin for origin in correspondence(KINECT20, NTU25)}
    assert table["head"].how == "same" and table["head"].sources == (("head", 1.0),)
    assert table["spine_mid"].how == "alias" and table["spine_mid"].sources == (("spine", 1.0),)
    assert table["neck"].how == "placed"
    assert table["neck"].sources == (("shoulder_center", 2 / 3), ("head", 1 / 3))
    assert table["left_thumb"].sources == (("left_hand", 1.0),)


def test_rules_lead_on_to_rules() -> None:
    """Without a spine, its top, middle and foot come from shoulders and hips."""
    source = without(KINECT20, "hip_center", "spine", "shoulder_center", "left_hand")
    table = {origin.joint: dict(origin.sources) for origin in correspondence(source, NTU25)}
    quarter = dict.fromkeys(["left_hip", "right_hip", "left_shoulder", "right_shoulder"], 0.25)
    assert table["spine_mid"] == quarter
    assert table["neck"] == pytest.approx(
        {"left_shoulder": 1 / 3, "right_shoulder": 1 / 3, "head": 1 / 3}
    )
    assert table["left_hand_tip"] == {"left_wrist": 1}


def test_rules_are_means_of_joints_that_exist() -> None:
    known = {ALIASES.get(name, name) for layout in LAYOUTS.values() for name in layout.joints}
    for joint, rule in RULES.items():
        assert sum(rule.values()) == pytest.approx(1)
        assert {joint, *rule} <= known


def test_what_cannot_be_placed_is_named() -> None:
    source = without(NTU25, "head", "neck", "left_knee")
    with pytest.raises(UserError) as error:
        convert(sequence(source), source, NTU25)
    assert "neck (it would need head), head, left_knee should be" in str(error.value)
    assert "fewer cannot be converted to ntu25" in str(error.value)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 25, 3), (2, 20), (20, 2)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"kinect20 has \(\.\.\., 20, 3\)"):
        convert(np.zeros(shape), KINECT20, NTU25)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 2, 3, 20, 3), elements=METRES),
    hnp.arrays(np.bool_, (2, 2, 3)),
    st.sampled_from([(KINECT20, NTU25), (NWUCLA20, NTU25), (KINECT20, NWUCLA20)]),
)
def test_batches_absence_and_equivariance(
    x: np.ndarray, present: np.ndarray, layouts: tuple[JointLayout, JointLayout]
) -> None:
    source, target = layouts
    x = x * present[..., None, None]
    x.flags.writeable = False
    before = x.copy()
    y = convert(x, source, target)
    np.testing.assert_array_equal(x, before)
    assert y.dtype == np.float32 and y.shape == (2, 2, 3, len(target.joints), 3)
    assert not y[~present].any()  # who is absent stays absent
    np.testing.assert_array_equal(convert(x[1], source, target), y[1])
    np.testing.assert_allclose(convert(x.astype(np.float64), source, target), y, rtol=1e-6)
    turn, _ = np.linalg.qr(np.arange(9).reshape(3, 3) ** 2 + np.eye(3))
    moved = x.astype(np.float64) @ turn + np.array([1, 2, 3])  # a rigid motion before or after
    np.testing.assert_allclose(convert(moved, source, target), y @ turn + [1, 2, 3], atol=1e-5)


def test_a_value_that_is_not_finite_stays_in_its_joint() -> None:
    x = sequence(KINECT20)
    x[:, :, KINECT20.joints.index("left_knee")] = np.nan
    broken = np.isnan(convert(x, KINECT20, NTU25)).any(axis=(0, 1, 3))
    assert [NTU25.joints[place] for place in np.flatnonzero(broken)] == ["left_knee"]
