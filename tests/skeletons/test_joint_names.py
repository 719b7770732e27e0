from __future__ import annotations

import pytest

from c2vl.registry import register
from c2vl.skeletons.joint_names import LIMBS, SIDES, body_joints, roles
from c2vl.skeletons.layout import LAYOUTS

ARM_AND_LEG = [f"left_{limb}" for limb in LIMBS]
RIGS = {
    "Mixamo": "LeftArm LeftForeArm LeftHand LeftUpLeg LeftLeg LeftFoot",
    "Mixamo with its prefix": "mixamorig:LeftArm mixamorig:LeftForeArm mixamorig:LeftHand "
    "mixamorig:LeftUpLeg mixamorig:LeftLeg mixamorig:LeftFoot",
    "Xsens": "LeftUpperArm LeftForeArm LeftHand LeftUpperLeg LeftLowerLeg LeftFoot",
    "Unreal": "upperarm_l lowerarm_l hand_l thigh_l calf_l foot_l",
    "Rigify": "upper_arm.L forearm.L hand.L thigh.L shin.L foot.L",
    "CMU": "lhumerus lradius lwrist lfemur ltibia lfoot",
    "OpenPose": "LShoulder LElbow LWrist LHip LKnee LAnkle",
    "capitals": "LEFT_SHOULDER LEFT_ELBOW LEFT_WRIST LEFT_HIP LEFT_KNEE LEFT_ANKLE",
}


@pytest.mark.parametrize("rig", RIGS)
def test_names_of_rigs_are_known(rig: str) -> None:
    names = RIGS[rig].split()
    collar = "LeftShoulder" if "Shoulder" not in RIGS[rig] and rig != "capitals" else "LeftCollar"
    found = body_joints(["Hips", "Spine", collar, *names, "LeftHandIndex1"])
    assert [found[joint] for joint in ARM_AND_LEG] == list(range(3, 9))
    assert found["left_collar"] == 2 and found["pelvis"] == 0


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_all_that_captions_need(name: str) -> None:
    layout = LAYOUTS[name]
    found, lacking = roles(layout.joints)
    assert not lacking
    assert {f"{side}_hand" for side in SIDES} | {"head", "chest", "pelvis"} <= set(found)
    for role, places in found.items():
        for place in places:  # a role is never taken from the other side
            other = "right" if role.startswith("left") else "left"
            assert role.split("_")[0] not in SIDES or other not in layout.joints[place]


def test_all_missing_joints_are_named_at_once() -> None:
    assert roles(["pelvis", "left_shoulder", "left_hand"])[1] == [
        *("left_elbow", "left_hip", "left_knee", "left_ankle"),
        *(f"right_{limb}" for limb in LIMBS),
        "head",
    ]


@pytest.mark.usefixtures("own_parts_go")
def test_own_names_are_registered() -> None:
    assert "left_elbow" not in body_joints(["Uln_L"])
    register("joint_names", "mysuit", {"Uln_L": "left_elbow"})
    assert body_joints(["Uln_L"])["left_elbow"] == 0
