from __future__ import annotations

import pytest

from c2vl.errors import UserError
from c2vl.skeletons.layout import KINECT20, LAYOUTS, NTU25, NWUCLA20, JointLayout, get_layout

NTU_BONES = """1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1
18-17 19-18 20-19 22-23 23-8 24-25 25-12 21-21"""
UTD_BONES = """1-2 2-3 3-4 5-2 6-5 7-6 8-7 9-2 10-9 11-10 12-11 13-4 14-13 15-14 16-15 17-4 18-17
19-18 20-19 4-4"""


@pytest.mark.parametrize(("layout", "bones"), [(NTU25, NTU_BONES), (KINECT20, UTD_BONES)])
def test_bones_are_those_of_the_dataset(layout: JointLayout, bones: str) -> None:
    expected = {tuple(int(joint) - 1 for joint in bone.split("-")) for bone in bones.split()}
    assert set(enumerate(layout.parents)) == expected


def test_nw_ucla_has_the_bones_of_kinect_v1_in_the_sensors_order() -> None:
    def bones(layout: JointLayout) -> set[tuple[str, str]]:
        parents = (layout.joints[parent] for parent in layout.parents)
        return set(zip(layout.joints, parents, strict=True))

    assert bones(NWUCLA20) == bones(KINECT20)
    limbs = [
        f"{side}_{joint}"
        for joints in (["shoulder", "elbow", "wrist", "hand"], ["hip", "knee", "ankle", "foot"])
        for side in ("left", "right")
        for joint in joints
    ]
    assert list(NWUCLA20.joints[:4]) == ["hip_center", "spine", "shoulder_center", "head"]
    assert list(NWUCLA20.joints[4:]) == limbs
    assert NWUCLA20.centre == 2 and NWUCLA20.shoulders == (4, 8)


def test_named_joints() -> None:
    assert NTU25.centre == 20 and NTU25.shoulders == (4, 8)
    assert KINECT20.joints[KINECT20.centre] == "shoulder_center" and KINECT20.shoulders == (4, 8)
    assert len(NTU25.pairs) == 10 and len(KINECT20.pairs) == 8


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_round_trip_and_mirror(layout: JointLayout) -> None:
    assert JointLayout.from_dict(layout.to_dict()) == layout
    mirrored = layout.mirrored
    assert [mirrored[joint] for joint in mirrored] == list(range(len(layout.joints)))
    for here, there in enumerate(mirrored):  # the skeleton is symmetric, its bones too
        assert mirrored[layout.parents[here]] == layout.parents[there]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": [1, 0]}, "its own parent"),
        ({"parents": [0, 5]}, "outside"),
        ({"joints": ["a", "a"]}, "unique"),
        ({"parents": [0]}, "1 parents for 2 joints"),
        ({"pairs": [[0, 1], [1, 0]]}, "two left-right pairs"),
        ({"shoulders": 3}, "joint layout"),
    ],
)
def test_nonsense_is_named(change: dict[str, object], message: str) -> None:
    good = {"name": "two", "joints": ["a", "b"], "parents": [0, 0], "pairs": [], "centre": 0}
    JointLayout.from_dict({**good, "shoulders": [0, 1]})
    with pytest.raises(UserError, match=message):
        JointLayout.from_dict({**good, "shoulders": [0, 1], **change})


def test_loops_and_unknown_names() -> None:
    with pytest.raises(UserError, match="loop"):
        JointLayout("x", ("a", "b", "c"), (0, 2, 1), (), 0, (0, 1))
    with pytest.raises(UserError, match='did you mean "ntu25"'):
        get_layout("ntu52")
