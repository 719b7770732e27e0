"""The epochs at which a pruner of the halving kind decides."""

from __future__ import annotations

from c2vl.training.figures import describe
from sweeps.spec.sweep import SweepSettings


def rungs(spec: SweepSettings, start: int, total: int) -> list[int]:
    """Return the rungs of successive halving from epoch ``start`` on, below ``total``."""
    every = 1
    if describe(spec.objectives[0].metric).when == "validation":  # reported at these epochs alone
        every = spec.base.train.evaluate_every
    found = set()
    epoch = start
    while epoch < total:
        found.add(-(-epoch // every) * every)
        epoch *= spec.pruner.reduction
    return sorted(rung for rung in found if rung < total)


def rungs_of_all(spec: SweepSettings) -> list[int]:
    """Return the rungs that all trials share: ASHA's; Hyperband has others in each bracket."""
    if spec.pruner.name != "asha":
        return []
    return rungs(spec, spec.pruner.min_epochs, spec.max_epochs)
