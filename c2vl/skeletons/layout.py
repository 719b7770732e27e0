"""Joint layouts: the names, bones and left-right pairs of a sensor's skeleton.

This imports the standard library alone, since every exported encoder needs it; files that describe
a user's own sensor are read by :mod:`.layout_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from c2vl.support.errors import UserError, did_you_mean


@dataclass(frozen=True)
class JointLayout:
    """What each joint of a sensor's skeleton is.

    Attributes:
        name: the layout's name.
        joints: names in the order of the data.
        parents: parent of each joint, 0-based; the root is its own parent.
        pairs: (left, right) joints that a mirror swaps.
        centre: the joint that sequences are centred on (spine-shoulder, or the shoulder centre).
        shoulders: the (left, right) ends of the shoulder line.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    centre: int
    shoulders: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.joints)
        if len(set(self.joints)) != count or count < 2:
            raise UserError(f"layout {self.name}: joints must be two or more, with unique names")
        if len(self.parents) != count:
            raise UserError(f"layout {self.name}: {len(self.parents)} parents for {count} joints")
        used = [*self.parents, *(j for pair in self.pairs for j in pair), self.centre]
        if not all(0 <= joint < count for joint in [*used, *self.shoulders]):
            raise UserError(f"layout {self.name}: a joint number is outside 0..{count - 1}")
        roots = [child for child, parent in enumerate(self.parents) if child == parent]
        if len(roots) != 1:
            raise UserError(f"layout {self.name}: one joint must be its own parent, not {roots}")
        for joint in range(count):
            steps = 0
            while self.parents[joint] != joint:
                joint, steps = self.parents[joint], steps + 1
                if steps > count:
                    raise UserError(f"layout {self.name}: the parents form a loop")
        if self.shoulders[0] == self.shoulders[1]:
            raise UserError(f"layout {self.name}: the shoulders must be two joints")
        paired = [joint for pair in self.pairs for joint in pair]
        if len(set(paired)) != len(paired):
            raise UserError(f"layout {self.name}: a joint is in two left-right pairs")

    @property
    def mirrored(self) -> tuple[int, ...]:
        """For each joint, the joint that takes its place in a left-right mirror."""
        order = list(range(len(self.joints)))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return tuple(order)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, as a manifest stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JointLayout:
        """Read what :meth:`to_dict` wrote (or a manifest's copy of it).

        Raises:
            UserError: a key is missing or the numbers do not form a skeleton.
        """
        try:
            left, right = values["shoulders"]
            return cls(
                name=str(values["name"]),
                joints=tuple(str(joint) for joint in values["joints"]),
                parents=tuple(int(parent) for parent in values["parents"]),
                pairs=tuple((int(a), int(b)) for a, b in values["pairs"]),
                centre=int(values["centre"]),
                shoulders=(int(left), int(right)),
            )
        except KeyError as error:
            raise UserError(f"joint layout: {error.args[0]} is missing") from None
        except (TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"joint layout: {error}") from None


def _pairs(joints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(
        (number, joints.index("right" + name.removeprefix("left")))
        for number, name in enumerate(joints)
        if name.startswith("left")
    )


def layout_of(name: str, bones: str, centre: str) -> JointLayout:
    """Build a layout from ``"joint<parent"`` words in the order of the data; the root stands alone.

    Names say the rest: ``left_X`` and ``right_X`` are a pair, ``left_shoulder`` and
    ``right_shoulder`` the shoulder line.
    """
    words = [word.partition("<") for word in bones.split()]
    joints = tuple(word[0] for word in words)
    return JointLayout(
        name=name,
        joints=joints,
        parents=tuple(joints.index(word[2] or word[0]) for word in words),
        pairs=_pairs(joints),
        centre=joints.index(centre),
        shoulders=(joints.index("left_shoulder"), joints.index("right_shoulder")),
    )


NTU25 = layout_of(
    "ntu25",
    """
    spine_base<spine_mid spine_mid<spine_shoulder neck<spine_shoulder head<neck
    left_shoulder<spine_shoulder left_elbow<left_shoulder left_wrist<left_elbow
    left_hand<left_wrist
    right_shoulder<spine_shoulder right_elbow<right_shoulder right_wrist<right_elbow
    right_hand<right_wrist
    left_hip<spine_base left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
    right_hip<spine_base right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
    spine_shoulder<spine_shoulder
    left_hand_tip<left_thumb left_thumb<left_hand right_hand_tip<right_thumb
    right_thumb<right_hand
    """,
    centre="spine_shoulder",
)
"""Kinect v2, 25 joints (NTU RGB+D, PKU-MMD), with the bones of ST-GCN's NTU graph."""

_KINECT1_LIMBS = """
    left_shoulder<shoulder_center left_elbow<left_shoulder left_wrist<left_elbow
    left_hand<left_wrist
    right_shoulder<shoulder_center right_elbow<right_shoulder right_wrist<right_elbow
    right_hand<right_wrist
    left_hip<hip_center left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
    right_hip<hip_center right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
"""

KINECT20 = layout_of(
    "kinect20",
    "head<shoulder_center shoulder_center<spine spine<hip_center hip_center<hip_center"
    + _KINECT1_LIMBS,
    centre="shoulder_center",
)
"""Kinect v1, 20 joints in the order of UTD-MHAD."""

NWUCLA20 = layout_of(
    "nwucla20",
    "hip_center<hip_center spine<hip_center shoulder_center<spine head<shoulder_center"
    + _KINECT1_LIMBS,
    centre="shoulder_center",
)
"""Kinect v1 in the sensor's own order, as the JSON edition of NW-UCLA has it; KINECT20's bones."""

_FACE = "left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye"
_ARMS = """
    left_elbow<left_shoulder right_elbow<right_shoulder left_wrist<left_elbow
    right_wrist<right_elbow
"""

SMPL22 = layout_of(
    "smpl22",
    """
    pelvis left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip
    spine2<spine1 left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle
    right_foot<right_ankle neck<spine3 left_collar<spine3 right_collar<spine3 head<neck
    left_shoulder<left_collar right_shoulder<right_collar
    """
    + _ARMS,
    centre="neck",
)
"""The body of SMPL without hands: HumanML3D, AMASS."""

KIT21 = layout_of(
    "kit21",
    """
    pelvis spine1<pelvis spine2<spine1 neck<spine2 head<neck
    right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
    left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
    right_hip<pelvis right_knee<right_hip right_ankle<right_knee right_heel<right_ankle
    right_foot<right_heel
    left_hip<pelvis left_knee<left_hip left_ankle<left_knee left_heel<left_ankle
    left_foot<left_heel
    """,
    centre="neck",
)
"""The Master Motor Map of KIT-ML, in the order of HumanML3D's edition of it."""

H36M17 = layout_of(
    "h36m17",
    """
    pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee left_hip<pelvis
    left_knee<left_hip left_ankle<left_knee spine<pelvis thorax<spine neck<thorax head<neck
    left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow right_shoulder<thorax
    right_elbow<right_shoulder right_wrist<right_elbow
    """,
    centre="thorax",
)
"""The 17 joints of Human3.6M that lifting networks return."""

COCO17 = layout_of(
    "coco17",
    "nose "
    + _FACE
    + " left_shoulder<nose right_shoulder<nose "
    + _ARMS
    + """
    left_hip<left_shoulder right_hip<right_shoulder left_knee<left_hip right_knee<right_hip
    left_ankle<left_knee right_ankle<right_knee
    """,
    centre="nose",
)
"""COCO's 17 keypoints: what most 2D detectors return."""

OPENPOSE25 = layout_of(
    "openpose25",
    """
    nose<neck neck<pelvis right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
    left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow pelvis right_hip<pelvis
    right_knee<right_hip right_ankle<right_knee left_hip<pelvis left_knee<left_hip
    left_ankle<left_knee right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye
    left_foot<left_ankle left_small_toe<left_ankle left_heel<left_ankle right_foot<right_ankle
    right_small_toe<right_ankle right_heel<right_ankle
    """,
    centre="neck",
)
"""OpenPose's BODY_25; its big toes are called feet here."""

MEDIAPIPE33 = layout_of(
    "mediapipe33",
    """
    nose left_eye_inner<nose left_eye<left_eye_inner left_eye_outer<left_eye right_eye_inner<nose
    right_eye<right_eye_inner right_eye_outer<right_eye left_ear<left_eye_outer
    right_ear<right_eye_outer left_mouth<nose right_mouth<nose left_shoulder<nose
    right_shoulder<nose
    """
    + _ARMS
    + """
    left_pinky<left_wrist right_pinky<right_wrist left_hand<left_wrist right_hand<right_wrist
    left_thumb<left_wrist right_thumb<right_wrist left_hip<left_shoulder
    right_hip<right_shoulder left_knee<left_hip right_knee<right_hip left_ankle<left_knee
    right_ankle<right_knee left_heel<left_ankle right_heel<right_ankle left_foot<left_ankle
    right_foot<right_ankle
    """,
    centre="nose",
)
"""MediaPipe's (BlazePose's) landmarks; index fingers are called hands and foot indices feet."""

KINECT15 = layout_of(
    "kinect15",
    """
    head<neck neck<torso torso left_shoulder<neck left_elbow<left_shoulder right_shoulder<neck
    right_elbow<right_shoulder left_hip<torso left_knee<left_hip right_hip<torso
    right_knee<right_hip left_hand<left_elbow right_hand<right_elbow left_foot<left_knee
    right_foot<right_knee
    """,
    centre="neck",
)
"""OpenNI's 15 joints on a Kinect v1, in the order of CAD-60."""

MSR20 = layout_of(
    "msr20",
    """
    right_shoulder<shoulder_center left_shoulder<shoulder_center shoulder_center<spine
    spine<hip_center right_hip<hip_center left_hip<hip_center hip_center right_elbow<right_shoulder
    left_elbow<left_shoulder right_wrist<right_elbow left_wrist<left_elbow right_hand<right_wrist
    left_hand<left_wrist right_knee<right_hip left_knee<left_hip right_ankle<right_knee
    left_ankle<left_knee right_foot<right_ankle left_foot<left_ankle head<shoulder_center
    """,
    centre="shoulder_center",
)
"""Kinect v1 in the order of MSR-Action3D's text files."""

LAYOUTS: dict[str, JointLayout] = {
    layout.name: layout
    for layout in (
        NTU25,
        KINECT20,
        NWUCLA20,
        MSR20,
        KINECT15,
        SMPL22,
        KIT21,
        H36M17,
        COCO17,
        OPENPOSE25,
        MEDIAPIPE33,
    )
}


def get_layout(name: str) -> JointLayout:
    """Return a layout by name.

    Raises:
        UserError: no layout has this name.
    """
    if name not in LAYOUTS:
        raise UserError(f'joint layout "{name}" is not known{did_you_mean(name, LAYOUTS)}')
    return LAYOUTS[name]
