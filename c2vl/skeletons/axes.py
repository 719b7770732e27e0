"""Which way is up and how long a unit is: conversion to metres with y up, and a look at bodies.

Everything after a store takes joints to be in metres with y up; captions by rules would say that a
raised hand goes down where they are not.

Shapes: M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError

UP: dict[str, tuple[tuple[int, int, int], ...]] = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
"""The axis that points up → the rotation that turns it to y; no mirror: left stays left."""

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
"""A unit's name → its length in metres."""

_SHORTEST, _LONGEST = 0.3, 3.0  # metres that a body may be across: a crouching child, raised arms
_USUAL = 1.5  # metres; UTD-MHAD 1.49, motion capture 1.33, with heads' tops and toes left out
_CLEAR = 0.6  # mean cosine from which bodies point along an axis; 1 is all of them, exactly
_TOPS = ("head", "nose", "neck")
_BOTTOMS = ("foot", "feet", "toe", "heel", "ankle", "knee", "hip", "pelvis")
_LOOKED_AT = 256  # sequences


@dataclass(frozen=True)
class Conversion:
    """From a sensor's axes and unit to metres with y up.

    Attributes:
        up: the axis that points up there, of :data:`UP`.
        metres: the length of its unit.
    """

    up: str = "y"
    metres: float = 1.0

    @classmethod
    def of(cls, up: str, unit: str) -> Conversion:
        """Make one of ``--up`` and ``--unit``.

        Raises:
            UserError: either has another value than the option's help says.
        """
        if up not in UP:
            raise UserError(f"--up {up}: give one of {', '.join(UP)}")
        try:
            metres = UNITS[unit] if unit in UNITS else float(unit)
        except ValueError:
            metres = 0.0
        if not 1e-6 < metres < 1e6:
            raise UserError(f"--unit {unit}: give {', '.join(UNITS)}, or its length in metres")
        return cls(up, metres)

    def __call__(self, joints_MTVC: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return joints in metres with y up."""
        if self == UNCHANGED:
            return joints_MTVC
        turn = np.array(UP[self.up], np.float64)
        return np.ascontiguousarray(joints_MTVC @ turn.T * self.metres, np.float32)


UNCHANGED = Conversion()


def require_bodies(
    sequences: Iterable[NDArray[np.float32]],
    layout: JointLayout,
    conversion: Conversion,
    *,
    up: str | None,
    unit: str | None,
) -> None:
    """Refuse data whose bodies clearly stand along another axis than y, or are no body's size.

    What bodies that point everywhere, or joints without a head's and feet's names, say of the axes
    is nothing, and passes. So does what the user confirms: ``--up y``, and a unit where no other
    would make them bodies.

    Args:
        sequences: (M, T, V, 3) each, converted.
        conversion: how.
        up: what the user said of the axes.
        unit: what the user said of the unit.

    Raises:
        UserError: with the option that mends it.
    """
    direction, size = stature(sequences, layout)
    if size is not None:
        _check_size(size, conversion.metres, unit)
    if direction is not None and up != "y":
        _check_direction(direction, conversion.up)


def require_upright(sequence: NDArray[np.float32], layout: JointLayout) -> None:
    """Refuse a sequence sent to a service without a word on its axes, whose bodies are not upright.

    Args:
        sequence: (M, T, V, 3).

    Raises:
        UserError: heads lie clearly along another axis than y from the feet.
    """
    direction, _ = stature([sequence], layout)
    if direction is not None:
        _check_direction(direction, "y", 'send "up": "{}"')


def stature(
    sequences: Iterable[NDArray[np.floating]], layout: JointLayout
) -> tuple[NDArray[np.floating] | None, float | None]:
    """Return where heads lie from feet, a mean of unit vectors (3,), and how long a body is.

    Each is None where nothing tells it: no named joints, no bodies.

    Args:
        sequences: (M, T, V, 3) each.
    """
    directions, sizes = [], []
    for joints in sequences:
        present = joints[np.any(joints, axis=(2, 3))]  # bodies in their frames: (n, V, 3)
        if not len(present):
            continue
        sizes.append(np.median((present.max(1) - present.min(1)).max(1)))
        if (direction := _upward(present, layout)) is not None:
            directions.append(direction)
    size = float(np.median(sizes)) if sizes else None
    return (np.mean(directions, axis=0) if directions else None), size


def axis_of(direction_C: NDArray[np.floating]) -> tuple[str, float]:
    """Return the axis that a direction lies along, of :data:`UP`, and its share of it."""
    axis = int(np.abs(direction_C).argmax())
    return ("-" if direction_C[axis] < 0 else "") + "xyz"[axis], float(abs(direction_C[axis]))


def units_of(size: float) -> list[str]:
    """Return the units in which a length may be that of a body, the likeliest first."""
    sizes = {name: size * length for name, length in UNITS.items()}
    fits = [name for name, metres in sizes.items() if _SHORTEST <= metres <= _LONGEST]
    return sorted(fits, key=lambda name: float(abs(np.log(sizes[name] / _USUAL))))


def looked_at(count: int) -> NDArray[np.int64]:
    """Return the numbers of the sequences that are looked at, evenly over all ``count``."""
    return np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(np.int64))


def _upward(present_nVC: NDArray[np.floating], layout: JointLayout) -> NDArray[np.floating] | None:
    """Return the mean unit vector from the lowest named joints to the highest, (3,)."""
    top = _named(layout, _TOPS) or list(layout.shoulders)
    bottom = _named(layout, _BOTTOMS)
    if not bottom:
        return None
    along = present_nVC[:, top].mean(1) - present_nVC[:, bottom].mean(1)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    mean: NDArray[np.floating] = (along / np.maximum(length, 1e-9)).mean(0)
    return mean


def _named(layout: JointLayout, words: tuple[str, ...]) -> list[int]:
    """Return the joints that have the first of the words that any joint has in its name."""
    for word in words:
        if found := [n for n, joint in enumerate(layout.joints) if word in joint.lower()]:
            return found
    return []


def _check_size(size: float, metres: float, said: str | None) -> None:
    if _SHORTEST <= size <= _LONGEST:
        return
    fits = units_of(size / metres)
    taken = next((name for name, length in UNITS.items() if length == metres), f"{metres:g}")
    if fits:
        remedy = f"give --unit {' or '.join(fits)}"
    elif said is None:
        remedy = f"give the unit's length in metres as --unit, or --unit {taken} if this is right"
    else:
        return
    raise UserError(
        f"the median body is {size:.3g} m across, with joints taken to be in {taken}: {remedy}"
    )


def _check_direction(mean_C: NDArray[np.floating], up: str, say: str = "give --up {}") -> None:
    source_C = np.array(UP[up]).T @ mean_C  # in the source's axes
    found, clear = axis_of(source_C)
    if found == up or clear < _CLEAR:
        return
    either = say.partition(" ")[2].format("y")
    right = "" if up != "y" else f", or {either} if this is right (people who lie, say)"
    raise UserError(
        f"heads lie along {found} from the feet, and {up} is taken to point up: "
        f"{say.format(found)}{right}"
    )
