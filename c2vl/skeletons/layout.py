"""Joint layouts: names, bones, left-right pairs, and files that describe a user's own sensor.

The standard library is enough to import this, since every exported encoder needs it; YAML is
imported where a file is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
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

LAYOUTS: dict[str, JointLayout] = {layout.name: layout for layout in (NTU25, KINECT20, NWUCLA20)}


def get_layout(name: str) -> JointLayout:
    """Return a layout by name.

    Raises:
        UserError: no layout has this name.
    """
    if name not in LAYOUTS:
        raise UserError(f'joint layout "{name}" is not known{did_you_mean(name, LAYOUTS)}')
    return LAYOUTS[name]


_LARGEST = 1 << 20  # bytes of a layout file: far more than any body has joints for


def read_layout(path: Path | str) -> JointLayout:
    """Read the joint layout of any sensor from a YAML file.

    The file has the fields of :class:`JointLayout`, with joints by name; the root's parent is
    ``null`` or itself, and ``parents`` may also be a list in the order of the joints::

        name: my_sensor
        joints: [pelvis, chest, left_shoulder, right_shoulder]
        parents: {pelvis: null, chest: pelvis, left_shoulder: chest, right_shoulder: chest}
        pairs: [[left_shoulder, right_shoulder]]
        centre: chest
        shoulders: [left_shoulder, right_shoulder]

    Raises:
        UserError: the file cannot be read, a field is missing, unknown or wrong, the joints do not
            form a skeleton, or the name is that of another, built-in layout.
    """
    path = Path(path)
    values = _yaml_mapping(path)
    names = [field.name for field in fields(JointLayout)]
    for key in values:
        if key not in names:
            shown = f'"{key}"' if isinstance(key, str) else _short(key)
            raise UserError(f"{path}: unknown field {shown}{did_you_mean(shown[1:-1], names)}")
    for key in names:
        if key not in values:
            raise UserError(f"{path}: {key} is missing; a layout has {', '.join(names)}")
    name = _name(path, "name", values["name"])
    joints = tuple(_name(path, "joints", joint) for joint in _list(path, "joints", values))
    numbers = {joint: number for number, joint in enumerate(joints)}
    if len(numbers) < len(joints):
        twice = next(joint for number, joint in enumerate(joints) if numbers[joint] != number)
        raise UserError(f'{path}: joints: "{twice}" is there twice')

    def number(field: str, joint: Any) -> int:
        if not isinstance(joint, str):
            raise UserError(f"{path}: {field}: {_short(joint)} is none of the joints")
        if joint not in numbers:
            near = did_you_mean(joint, joints)
            raise UserError(f'{path}: {field}: "{joint}" is none of the joints{near}')
        return numbers[joint]

    def pair(field: str, value: Any) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            raise UserError(f"{path}: {field}: expected [left, right], found {_short(value)}")
        return number(field, value[0]), number(field, value[1])

    parents = values["parents"]
    if isinstance(parents, dict):
        for joint in parents:
            number("parents", joint)
        lacking = [joint for joint in joints if joint not in parents]
        if lacking:
            raise UserError(f"{path}: parents: {', '.join(lacking)} missing; the root's is null")
        parents = [parents[joint] for joint in joints]
    elif not isinstance(parents, list) or len(parents) != len(joints):
        raise UserError(
            f"{path}: parents: expected one for each of the {len(joints)} joints (joint: parent), "
            f"found {_short(parents)}"
        )
    try:
        layout = JointLayout(
            name=name,
            joints=joints,
            parents=tuple(
                child if parent is None else number("parents", parent)
                for child, parent in enumerate(parents)
            ),
            pairs=tuple(pair("pairs", each) for each in _list(path, "pairs", values)),
            centre=number("centre", values["centre"]),
            shoulders=pair("shoulders", values["shoulders"]),
        )
    except UserError as error:
        raise UserError(str(error).replace(f"layout {name}", str(path), 1)) from None
    if LAYOUTS.get(name, layout) != layout:
        raise UserError(f'{path}: name: "{name}" is a built-in layout, and another; rename yours')
    return layout


def layout_yaml(layout: JointLayout) -> str:
    """Return a layout as the YAML that :func:`read_layout` reads back equal."""
    import yaml

    joints = layout.joints
    parents = {
        joint: None if parent == child else joints[parent]
        for child, (joint, parent) in enumerate(zip(joints, layout.parents, strict=True))
    }
    values = {
        "name": layout.name,
        "joints": list(joints),
        "parents": parents,
        "pairs": [[joints[left], joints[right]] for left, right in layout.pairs],
        "centre": joints[layout.centre],
        "shoulders": [joints[joint] for joint in layout.shoulders],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _yaml_mapping(path: Path) -> dict[Any, Any]:
    from c2vl.support.yaml_files import load_yaml

    values = load_yaml(path, _LARGEST)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected the fields of a joint layout, found {_short(values)}")
    return values


def _name(path: Path, field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UserError(
            f"{path}: {field}: {_short(value)} is no name; give printable text (in quotes where "
            "YAML would take it for something else)"
        )
    return value


def _list(path: Path, field: str, values: Mapping[Any, Any]) -> list[Any]:
    value = values[field]
    if not isinstance(value, list):
        raise UserError(f"{path}: {field}: expected a list, found {_short(value)}")
    return value


def _short(value: Any) -> str:
    """Show a value without walking through all that a few lines of YAML may stand for."""
    if isinstance(value, dict | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
