"""What readers of one recording a file share: who is in them, which joints are taken, frame rate.

Shapes: M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.conversion import correspondence
from c2vl.skeletons.datasets.base import Item
from c2vl.skeletons.datasets.folder_table import LONGEST_ID, TABLE, Table, only
from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.joint_names import SIDES, body_joints, roles
from c2vl.skeletons.layout import LAYOUTS, JointLayout, get_layout
from c2vl.skeletons.layout_files import read_layout
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.support.errors import UserError

Floats = NDArray[np.float64]
_CENTRES = ("thorax", "neck", "chest", "spine3", "spine2", "spine1", "spine", "pelvis")


def items_of(
    source: Path, files: list[RawFile], suffix: str, facts: Mapping[str, Any]
) -> tuple[list[Item], list[Rejected], list[str], str]:
    """Return an item for each recording, by ``sequences.csv`` where there is one.

    Without it a recording is called as its file, and its class is not known.

    Returns:
        Items, rejections, class names, and the first split of the table.
    """
    if any(file.base == TABLE for file in files):
        table = Table(only(TABLE, files, source))
        items, rejected = table.items(files, (suffix,), facts)
        return items, rejected, list(table.classes), next(iter(table.splits), "")
    named = [file for file in files if file.base.lower().endswith(suffix)]
    shared = os.path.commonpath([file.folder for file in named]) if named else ""
    start = len(shared) + 1 if shared else 0
    alone, unnamed = [], []
    for file in named:
        name = file.name[start : -len(suffix)]
        if name.isprintable() and 0 < len(name) <= LONGEST_ID:
            alone.append(Item(file, facts={"id": name, "parts": {}, **facts}))
        else:
            unnamed.append(Rejected(file.name, "its name is too long or not printable"))
    return alone, unnamed, [], ""


def given_layout(name: str) -> JointLayout:
    """Return the layout of ``--layout``: a name, or a YAML file."""
    return get_layout(name) if name in LAYOUTS else read_layout(name)


Take = list[list[tuple[str, float]]]
"""Of each joint of a layout: the joints of a file, by name, that it is the weighted mean of."""


def taken_joints(
    layout: JointLayout | None, names: Sequence[str], parents: Sequence[int], where: str
) -> tuple[JointLayout, Take]:
    """Return the layout of a file's recordings, and what is taken of the file for each joint.

    Args:
        layout: the wanted one; its joints come from those of the same or a known name, or are
            placed between others (:mod:`c2vl.skeletons.conversion`). None: the joints of a body
            that the file has, under our names; fingers, props and the like are left out.
        names: of the file's joints.
        parents: place of each joint's parent; -1 of a root.
        where: the file, for messages.

    Raises:
        UserError: joints are missing; the message names all of them.
    """
    meant = {place: name for name, place in body_joints(names).items()}
    remedy = (
        f"its joints: {', '.join(names)}. Register what they mean (joint_names, docs/parts.md), or "
        "name them in a layout of your own (--layout FILE.yaml)"
    )
    if layout is None:
        if lacking := roles(names)[1]:
            raise UserError(f"{where}: no joint is known as {', '.join(lacking)}; {remedy}")
        body = _layout("body", sorted(meant), meant, parents)
        return body, [[(names[place], 1.0)] for place in sorted(meant)]
    known = meant | {
        place: name for place, name in enumerate(names) if name in layout.joints
    }  # a layout may call joints as the file does
    own = {known[place]: names[place] for place in known}
    source = _layout(where, sorted(known), known, parents)
    try:
        origins = correspondence(source, layout)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    return layout, [[(own[name], share) for name, share in one.sources] for one in origins]


def _layout(
    name: str, kept: Sequence[int], called: Mapping[int, str], parents: Sequence[int]
) -> JointLayout:
    """Return the layout of some joints of a file.

    Args:
        kept: places of the joints in the file, ascending.
        called: place → name.
    """
    joints = tuple(called[place] for place in kept)
    above: list[int] = []
    for number, place in enumerate(kept):
        parent = parents[place]
        while parent >= 0 and parent not in kept:
            parent = parents[parent]
        above.append(kept.index(parent) if parent >= 0 else 0)  # roots hang on the first joint
        if not number:
            above[0] = 0
    pairs = tuple(
        (place, joints.index(right))
        for place, joint in enumerate(joints)
        if joint.startswith("left_") and (right := "right_" + joint[5:]) in joints
    )
    centre = next((joints.index(name) for name in _CENTRES if name in joints), 0)
    ends = [joints.index(f"{side}_shoulder") if f"{side}_shoulder" in joints else number
            for number, side in enumerate(SIDES)]  # fmt: skip
    return JointLayout(name, joints, tuple(above), pairs, centre, (ends[0], ends[1]))


def joints_taken(places_TVC: Floats, names: Sequence[str], take: Take) -> Floats:
    """Return the joints of a layout, (T, V', 3), of those of a file.

    Raises:
        RejectedError: the file lacks joints that the first one has.
    """
    number: dict[str, int] = {}
    for place, name in enumerate(names):
        number.setdefault(name, place)
    wanted = [name for sources in take for name, _ in sources]
    if lacking := sorted({name for name in wanted if name not in number}):
        raise RejectedError(f"it has no joint {', '.join(lacking)}, which the first file has")
    return np.stack(
        [
            sum((share * places_TVC[:, number[name]] for name, share in sources), np.zeros(3))
            for sources in take
        ],
        axis=1,
    )


def resampled(joints_MTVC: Floats, rate: float, wanted: float) -> Floats:
    """Return joints at another frame rate, linearly between frames.

    A body that one of the two frames lacks (all zero) is absent between them.

    Args:
        joints_MTVC: at ``rate`` frames a second.
    """
    frames = joints_MTVC.shape[1]
    if abs(rate - wanted) < 1e-3 * wanted or frames < 2:
        return joints_MTVC
    at_S = np.arange(int(np.floor((frames - 1) / rate * wanted + 1e-6)) + 1) * rate / wanted
    low_S = np.minimum(at_S.astype(int), frames - 2)
    share_S = (at_S - low_S)[None, :, None, None]
    below, above = joints_MTVC[:, low_S], joints_MTVC[:, low_S + 1]
    there = below.any((2, 3), keepdims=True) & above.any((2, 3), keepdims=True)
    return np.where(there, (1 - share_S) * below + share_S * above, 0.0)
