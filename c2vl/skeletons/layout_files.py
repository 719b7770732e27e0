"""Joint layouts in YAML files, for a user's own sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from c2vl.skeletons.layout import LAYOUTS, JointLayout
from c2vl.support.errors import UserError, did_you_mean
from c2vl.support.yaml_files import load_yaml

RECORDINGS = "recordings"
"""The field that says what the arrays beside a layout's file are; the reader of a folder has it."""
LARGEST = 1 << 20
"""Bytes of a layout file: far more than any body has joints for."""


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
    return layout_of_values(load_yaml(Path(path), LARGEST), path)


def layout_of_values(values: Any, path: Path | str) -> JointLayout:
    """Return the layout that the content of a file describes; see :func:`read_layout`.

    Args:
        values: what the YAML holds.
        path: the file, for messages.

    Raises:
        UserError: as :func:`read_layout`.
    """
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected the fields of a joint layout, found {_short(values)}")
    names = [field.name for field in fields(JointLayout)]
    for key in values:
        if key not in (*names, RECORDINGS):
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


def _name(path: Path | str, field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UserError(
            f"{path}: {field}: {_short(value)} is no name; give printable text (in quotes where "
            "YAML would take it for something else)"
        )
    return value


def _list(path: Path | str, field: str, values: Mapping[Any, Any]) -> list[Any]:
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
