"""Robustness: a linear probe fitted on clean training sequences scores spoilt ones.

Raw joints of the scored part are spoilt before the encoder's own preprocessing, so that what
preprocessing undoes counts as robust.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.encoder.store_features import cached
from c2vl.protocols.task import Floats, Outcome, Task, pooled
from c2vl.skeletons.layout import JointLayout
from c2vl.support.progress import progress

Spoil = Callable[[NDArray[np.float32], float, np.random.Generator, JointLayout], Floats]


def missing_joints(
    x_MTVC: Floats, share: float, draw: np.random.Generator, layout: JointLayout
) -> Floats:
    """Lose each joint but the centre with a probability, for the whole sequence.

    A lost joint takes the place of the centre joint, which is 0 after preprocessing.
    """
    lost = draw.random(len(layout.joints)) < share
    lost[layout.centre] = False
    out = x_MTVC.copy()
    out[:, :, lost] = x_MTVC[:, :, [layout.centre]]
    return out


def shorter(x_MTVC: Floats, share: float, draw: np.random.Generator, _: JointLayout) -> Floats:
    """Keep a share of the frames, a window at a random place."""
    frames = x_MTVC.shape[1]
    kept = max(1, round(share * frames))
    first = int(draw.integers(0, frames - kept + 1))
    window = x_MTVC[:, first : first + kept]
    return window if window.any() else x_MTVC[:, :kept] if x_MTVC[:, :kept].any() else x_MTVC


def turned(x_MTVC: Floats, degrees: float, draw: np.random.Generator, _: JointLayout) -> Floats:
    """Look from the side: a rotation about the vertical, to the left or the right at random."""
    angle = np.radians(degrees) * draw.choice([-1, 1])
    return _rotated(x_MTVC, 0, 2, angle)


def tilted(x_MTVC: Floats, degrees: float, draw: np.random.Generator, _: JointLayout) -> Floats:
    """Look from above or below: a rotation about the axis from left to right."""
    angle = np.radians(degrees) * draw.choice([-1, 1])
    return _rotated(x_MTVC, 1, 2, angle)


def noisy(x_MTVC: Floats, metres: float, draw: np.random.Generator, _: JointLayout) -> Floats:
    """Add Gaussian noise to every joint of the bodies that are there."""
    there = np.any(x_MTVC != 0, axis=(2, 3), keepdims=True)
    return np.asarray(x_MTVC + metres * draw.normal(size=x_MTVC.shape) * there, np.float32)


def _rotated(x: Floats, a: int, b: int, angle: float) -> Floats:
    out = x.copy()
    out[..., a] = np.cos(angle) * x[..., a] - np.sin(angle) * x[..., b]
    out[..., b] = np.sin(angle) * x[..., a] + np.cos(angle) * x[..., b]
    return out


@dataclass(frozen=True)
class Curve:
    """A way of spoiling, and the levels it is tried at (the first spoils nothing)."""

    spoil: Spoil
    levels: tuple[float, ...]
    unit: str


CURVES = {
    "missing joints": Curve(missing_joints, (0.0, 0.1, 0.2, 0.3, 0.5), "share"),
    "shorter clip": Curve(shorter, (1.0, 0.75, 0.5, 0.25), "share kept"),
    "turned view": Curve(turned, (0.0, 15.0, 30.0, 60.0, 90.0), "degrees about the vertical"),
    "tilted view": Curve(tilted, (0.0, 10.0, 20.0, 30.0), "degrees up or down"),
    "noise": Curve(noisy, (0.0, 0.01, 0.02, 0.05, 0.1), "metres"),
}

SPOILT = sum(len(curve.levels) - 1 for curve in CURVES.values())
"""How often the scored part is embedded anew."""


def robustness(task: Task) -> list[Outcome]:
    """Score the convex probe at every level of every curve; keys are ``noise@0.02`` and the like.

    Linear probes, one a fold, are fitted once on clean features.
    """
    probes = [task.probe(one)[0] for one in task.folds]
    found = []
    levels = [(name, curve, level) for name, curve in CURVES.items() for level in curve.levels]
    with progress("levels") as shown:
        for name, curve, level in levels:
            rows = task.rows if level == curve.levels[0] else _spoilt(task, name, curve, level)
            hits = [
                (one.scored, probe.hits(rows[one.scored], task.labels[one.scored]))
                for one, probe in zip(task.folds, probes, strict=True)
            ]
            key = f"{name.replace(' ', '_')}@{level:g}"
            found.append(pooled(key, "top-1", f"{name}, {level:g} {curve.unit}", hits))
            shown(len(found), len(levels))
    return found


def _spoilt(task: Task, name: str, curve: Curve, level: float) -> Floats:
    """Features of the whole store, (N, F); only the scored rows are spoilt, the others are nan."""
    scored = np.concatenate([one.scored for one in task.folds])
    variant = task.variant(f"{name} {level:g} seed {task.seed} {task.split.name} {task.part}")

    def compute() -> Floats:
        out = np.full((len(task.store), task.encoder.feature_size), np.nan, np.float32)
        layout = task.store.layout
        for first in range(0, len(scored), 256):
            part = scored[first : first + 256]
            spoilt = [
                curve.spoil(
                    np.array(task.store.joints(int(at))),
                    level,
                    np.random.default_rng([task.seed, int(at), len(name)]),
                    layout,
                )
                for at in part
            ]
            with task.precision.autocast():
                out[part] = task.encoder.embed(spoilt)
        return out

    return cached(task.encoder, task.store, variant, compute)
