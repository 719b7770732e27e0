"""What a sweep's trainings cost, by how they ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2vl.training.run_folder import RunFolder
from sweeps.report.trials import Trials
from sweeps.search.study import ENDED

AFTER = "other seeds, references"


@dataclass(frozen=True)
class Costs:
    """Training time, in seconds, and what it takes of the machine.

    Attributes:
        seconds: by outcome of the trials; AFTER for other seeds and references.
        saved: what the stopped trials would have taken to their end, at their own pace.
        cpus, gpus: of one training.
    """

    seconds: dict[str, float]
    saved: float
    cpus: float
    gpus: float

    @property
    def total(self) -> float:
        """Seconds of all trainings."""
        return sum(self.seconds.values())

    @property
    def unit(self) -> tuple[str, float]:
        """The scarcer of GPU and CPU, and how many of them one training holds."""
        return ("GPU", self.gpus) if self.gpus else ("CPU", self.cpus)


def costs(trials: Trials) -> Costs:
    """Add up what was spent."""
    spec = trials.spec
    seconds: dict[str, float] = {o: sum(t.seconds for t in trials.of(o)) for o in ENDED}
    after = map(RunFolder, sorted(spec.folder.finals.glob("*")))
    seconds[AFTER] = sum(float(np.nansum(run.table(["seconds"]))) for run in after)
    saved = sum(
        t.seconds / t.epochs * max(t.training.experiment.train.epochs - t.epochs, 0)
        for t in trials.of("pruned")
        if t.epochs
    )
    train = spec.base.train
    return Costs(seconds, saved, train.cpus_per_worker * train.workers,
                 train.gpus_per_worker * train.workers)  # fmt: skip
