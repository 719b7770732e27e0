"""Which built-in layout an array's joints are in, which way is up, and how long its unit is.

A right layout has bones of constant length, as long on the left as on the right, and short ones; a
wrong order of the same joints has neither. Shapes: T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from c2vl.skeletons.axes import axis_of, stature, units_of
from c2vl.skeletons.layout import LAYOUTS, JointLayout

Floats = NDArray[np.float64]
DOUBTFUL = 0.35
"""Misfit from which a layout is likely wrong; real Kinect data fit theirs with 0.1 to 0.2."""


@dataclass(frozen=True)
class Guess:
    """What samples look like.

    Attributes:
        layout: the best of the layouts with as many joints, or one whose bones are the pairs of
            joints that keep their distance, without names, where there is none.
        misfits: built-in layout → misfit of its bones, the best first.
        up: the axis that points from the feet to the head.
        unit: of :data:`~c2vl.skeletons.axes.UNITS`, or "" where none fits or nobody knows.
    """

    layout: JointLayout
    misfits: dict[str, float]
    up: str
    unit: str


def guess(samples: list[Floats]) -> Guess:
    """Guess from samples of one sensor.

    Args:
        samples: (T, V, 3) each, of bodies that are there.
    """
    joints = samples[0].shape[1]
    fits = {
        name: float(np.median([misfit(x_TVC, layout) for x_TVC in samples]))
        for name, layout in LAYOUTS.items()
        if len(layout.joints) == joints
    }
    misfits = dict(sorted(fits.items(), key=lambda item: item[1]))
    if not misfits:
        return Guess(unnamed_layout(samples), {}, "y", "")
    layout = LAYOUTS[next(iter(misfits))]
    return Guess(layout, misfits, *axis_and_unit(samples, layout))


def axis_and_unit(samples: list[Floats], layout: JointLayout) -> tuple[str, str]:
    """Return the axis that points up, and the unit, as ``c2vl data prepare`` looks at them."""
    direction, size = stature((x_TVC[None] for x_TVC in samples), layout)
    if direction is None or size is None:
        return "y", ""
    return axis_of(direction)[0], next(iter(units_of(size)), "")


def misfit(x_TVC: Floats, layout: JointLayout) -> float:
    """Return how unlike bones the pairs of a layout are; 0 is rigid and symmetric."""
    child = np.array([c for c, p in enumerate(layout.parents) if c != p])
    parent = np.array([layout.parents[c] for c in child])
    length_TB = np.linalg.norm(x_TVC[:, child] - x_TVC[:, parent], axis=2)
    mean_B = np.maximum(length_TB.mean(0), 1e-9)
    wobble = float((length_TB.std(0) / mean_B).mean())
    of = {int(c): place for place, c in enumerate(child)}
    sides = [(of[a], of[b]) for a, b in layout.pairs if a in of and b in of]
    uneven = [abs(mean_B[a] - mean_B[b]) / (mean_B[a] + mean_B[b]) for a, b in sides]
    # Joints that hang on others than their neighbours make the skeleton longer than its body.
    extent_T = np.linalg.norm(np.ptp(x_TVC, axis=1), axis=1)
    stretch = float(mean_B.sum() / max(float(np.median(extent_T)), 1e-9)) / len(child)
    return wobble + float(np.mean(uneven or [0.0])) + stretch


def unnamed_layout(samples: list[Floats]) -> JointLayout:
    """Return joints without names, joined by the tree of pairs that keep the shortest distance."""
    x_nVC = np.concatenate(samples)
    joints = x_nVC.shape[1]
    apart_VV = np.zeros((joints, joints))
    for joint in range(joints):
        length_nV = np.linalg.norm(x_nVC - x_nVC[:, joint, None], axis=2)
        apart_VV[joint] = length_nV.mean(0) + 2 * length_nV.std(0)
    tree = minimum_spanning_tree(np.maximum(apart_VV, 1e-6) * ~np.eye(joints, dtype=bool))
    degree = (tree.toarray() > 0).sum(0) + (tree.toarray() > 0).sum(1)
    root = int(degree.argmax())
    _, above = breadth_first_order(tree, root, directed=False)
    parents = tuple(joint if joint == root else int(above[joint]) for joint in range(joints))
    names = tuple(f"joint_{joint}" for joint in range(joints))
    ends = tuple(joint for joint, parent in enumerate(parents) if parent == root != joint)
    shoulders = (ends[0], ends[1] if len(ends) > 1 else root)
    return JointLayout("my_sensor", names, parents, (), root, shoulders)
