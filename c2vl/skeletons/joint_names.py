"""Which joints of the body a sensor's names mean: ``LArm``, ``Shoulder_L``, ``mixamorig:LeftArm``.

Sensors name joints ("elbow"); animation names the bone that starts there ("forearm"), and calls the
collar bone "shoulder". So there are two vocabularies, and the names of a skeleton decide together
which one is spoken. Names of a system that speaks neither are registered, as anybody's::

    register("joint_names", "mysuit", {"Hmr_L": "left_shoulder", "Uln_L": "left_elbow"})
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from c2vl.registry import find, names

SIDES = ("left", "right")
_SIDE = {"l": "left", "left": "left", "r": "right", "right": "right"}
_PREFIXES = {"joint", "mixamorig", "bip", "def", "j", "bn"}
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_TRUNK = {
    "pelvis": "pelvis hip hips midhip hipcenter hipcentre spinebase",
    "neck": "neck neck1 lowerneck",
    "head": "head headtop skull",
    "nose": "nose",
    "spine": "spine spinemid torso abdomen lowerback",
    "spine1": "spine1 spine01 chest1",
    "spine2": "spine2 spine02 chest2",
    "spine3": "spine3 spine03 chest3",
    "spine4": "spine4 spine04 chest4",
    "chest": "chest upperchest upperback",
    "thorax": "thorax spineshoulder shouldercenter shouldercentre midshoulder",
}
_JOINTS = {
    "collar": "collar clavicle",
    "shoulder": "shoulder",
    "elbow": "elbow",
    "wrist": "wrist",
    "hand": "hand palm",
    "hip": "hip",
    "knee": "knee",
    "ankle": "ankle",
    "foot": "foot toe toes bigtoe footindex",
    "eye": "eye",
    "ear": "ear",
}
_BONES = {
    "collar": "shoulder collar clavicle scapula",
    "shoulder": "arm upperarm uparm humerus",
    "elbow": "forearm lowerarm lowarm radius",
    "wrist": "hand wrist",
    "hip": "upleg upperleg thigh femur",
    "knee": "leg lowerleg lowleg shin calf tibia",
    "ankle": "foot",
    "foot": "toe toes toebase ball",
    "eye": "eye",
}
_ENDS = {"wrist": "hand", "ankle": "foot"}
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_HEADS = (("head",), ("nose",), ("left_ear", "right_ear"), ("left_eye", "right_eye"))


def _table(*parts: Mapping[str, str]) -> dict[str, str]:
    pairs = [pair for part in parts for pair in part.items()]
    return {word: joint for joint, words in pairs for word in words.split()}


_VOCABULARIES = tuple((_table(_TRUNK), _table(limbs)) for limbs in (_JOINTS, _BONES))


def body_joints(joints: Sequence[str]) -> dict[str, int]:
    """Return where each joint of the body stands among a skeleton's names.

    Args:
        joints: names as the data has them. Of two that mean the same the first counts.

    Returns:
        Our name (``left_elbow``, ``pelvis``, ``neck``, …) → place in ``joints``.

    Example:
        >>> body_joints(["Hips", "LeftArm", "LeftForeArm", "LeftHand"])["left_elbow"]
        2
    """
    own: dict[str, str] = {}
    for name in names("joint_names"):
        own |= find("joint_names", name).load()
    candidates = [_meant(joints, own, trunk, limbs) for trunk, limbs in _VOCABULARIES]
    return max(candidates, key=lambda found: sum(name in found for name in _wanted()))


def _wanted() -> list[str]:
    return [f"{side}_{limb}" for side in SIDES for limb in LIMBS]


def _meant(
    joints: Sequence[str],
    own: Mapping[str, str],
    trunk: Mapping[str, str],
    limbs: Mapping[str, str],
) -> dict[str, int]:
    found: dict[str, int] = {}
    for place, joint in enumerate(joints):
        name = own.get(joint)
        if name is None:
            side, word = _parsed(joint, limbs)
            part = limbs.get(word) if side else trunk.get(word)
            name = f"{side}_{part}" if side and part else part
        if name is not None:
            found.setdefault(name, place)
    return found


def _parsed(joint: str, limbs: Mapping[str, str]) -> tuple[str, str]:
    """Return side and part of a name, both in small letters; the side is empty on the trunk."""
    tokens = [token.lower() for token in _TOKEN.findall(joint.rpartition(":")[2])]
    while len(tokens) > 1 and (tokens[0] in _PREFIXES or tokens[0].isdigit()):
        tokens = tokens[1:]
    sides = [token for token in tokens if token in _SIDE]
    if sides:
        return _SIDE[sides[0]], "".join(token for token in tokens if token not in _SIDE)
    word = "".join(tokens)
    if word[:1] in _SIDE and word[1:] in limbs:  # lfemur
        return _SIDE[word[0]], word[1:]
    return "", word


def roles(joints: Sequence[str]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Return the joints that describe a motion, each as places whose mean it is, and what lacks.

    Shoulders, elbows, wrists, hips, knees, ankles and the head must be there. A hand may stand for
    its wrist and the wrist for its hand, a foot for its ankle; nose, ears or eyes for the head; the
    middle of the shoulders for the chest and that of the hips for the pelvis.

    Args:
        joints: a layout's names.

    Returns:
        Role (``head``, ``chest``, ``pelvis``, ``left_hand``, …) → places; and the names of joints
        that are neither there nor can be replaced.
    """
    at = body_joints(joints)
    found: dict[str, tuple[int, ...]] = {}
    lacking = []
    for side in SIDES:
        for limb in LIMBS:
            name = f"{side}_{limb}"
            place = at.get(name, at.get(f"{side}_{_ENDS.get(limb, limb)}"))
            if place is None:
                lacking.append(name)
            else:
                found[name] = (place,)
        hand = at.get(f"{side}_hand")
        if hand is not None or f"{side}_wrist" in found:
            found[f"{side}_hand"] = (hand,) if hand is not None else found[f"{side}_wrist"]
    head = next((parts for parts in _HEADS if all(part in at for part in parts)), None)
    if head is None:
        lacking.append("head")
    else:
        found["head"] = tuple(at[part] for part in head)
    for role, name, ends in (("chest", "thorax", "shoulder"), ("pelvis", "pelvis", "hip")):
        pair = [f"{side}_{ends}" for side in SIDES]
        if name in at:
            found[role] = (at[name],)
        elif all(end in found for end in pair):
            found[role] = (*found[pair[0]], *found[pair[1]])
    return found, lacking
