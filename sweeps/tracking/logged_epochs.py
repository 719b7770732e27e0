"""Which epochs MLflow gets of a long training: enough for its curves; run folders keep them all.

MLflow's SQLite takes some 250 bytes a figure: 1.7 MB a trial of 300 epochs with 20 figures.
"""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.spec.rungs import rungs
from sweeps.spec.sweep import SweepSettings

POINTS = 50  # of a curve in MLflow, at least; twice as many at most


class LoggedEpochs:
    """The rule, the same for all trainings of a sweep, so that their curves can be compared.

    Of trainings below 100 epochs MLflow gets every epoch. Of longer ones it gets those that are
    validated (of more than 100 validations every second, third …), and always the first epoch, the
    pruner's rungs, and the one at which a training ended.

    Args:
        longest: epochs of the longest training.
        validated: epochs between two validations.
        always: epochs that are logged besides.

    Attributes:
        every: of so many epochs one is logged.
    """

    def __init__(self, longest: int, validated: int, always: Iterable[int] = ()) -> None:
        self.every = longest // POINTS
        if self.every > 1:
            self.every = max(validated, self.every // validated * validated)
        self.every = max(1, self.every)
        self._always = {1, *always}

    @classmethod
    def of_sweep(cls, spec: SweepSettings) -> LoggedEpochs:
        """Return the rule of a sweep's trainings."""
        halving = spec.pruner.name in ("asha", "hyperband")
        always = rungs(spec, spec.pruner.min_epochs, spec.max_epochs) if halving else ()
        return cls(spec.max_epochs, spec.base.train.evaluate_every, always)

    def __contains__(self, epoch: int) -> bool:
        """Say whether an epoch is logged wherever its training ends."""
        return epoch % self.every == 0 or epoch in self._always

    def of(self, epochs: Iterable[int], *, ended: bool) -> set[int]:
        """Return those epochs of a training that are logged.

        Args:
            epochs: all so far.
            ended: whether the last one stays the last.
        """
        trained = set(epochs)
        last = {max(trained)} if ended and trained else set()
        return {epoch for epoch in trained if epoch in self} | last
