"""A training of a sweep, its end, and the source that gives trainings to the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from c2vl.config.experiment import Experiment
from c2vl.training.mirror import Mirror
from c2vl.training.run_folder import RunFolder

Outcome = Literal["complete", "pruned", "failed", "interrupted"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        name: of its run in every store (``demo-0007``).
        experiment: its settings, with paths as in the sweep file.
        folder: its run folder, absolute.
        kind: "trial" of the search; "repeat" of one with another seed, in the search; "final",
            after the search.
        number: of the trial in the study; -1 for a training of no trial.
        values: drawn by the sampler, by variable.
        mirror: where the sweep lies at a URL, the copy in which ``folder`` is.
    """

    name: str
    experiment: Experiment
    folder: Path
    kind: Literal["trial", "repeat", "final"] = "trial"
    number: int = -1
    values: Mapping[str, Any] = field(default_factory=dict)
    mirror: Mirror | None = field(default=None, compare=False, repr=False)

    @property
    def run(self) -> RunFolder:
        """Its run folder."""
        return RunFolder(self.folder, self.mirror)

    @property
    def done(self) -> bool:
        """Whether it has run to its end."""
        return self.run.done

    def rows(self) -> list[Row]:
        """Return the figures of every epoch so far, from the run folder."""
        return self.run.rows()

    def warnings(self) -> str:
        """Return the warnings of its training, a line each."""
        return self.run.warnings()


@dataclass(frozen=True)
class End:
    """How a training ended.

    Attributes:
        outcome: in every store.
        error: message or traceback of a failure.
        node: the Ray node that it ran on; empty if unknown.
        warnings: of the training, a line each.
    """

    outcome: Outcome
    error: str = ""
    node: str = ""
    warnings: str = ""


class Listener:
    """Receives the events of trainings, on the driver; ignores those that it does not override."""

    def started(self, training: Training, attempt: int) -> None:
        """A training starts, or starts again after a loss."""

    def reported(self, training: Training, row: Row) -> None:
        """A training has finished an epoch."""

    def ended(self, training: Training, end: End) -> None:
        """A training has ended."""

    def turned(self) -> None:
        """The loop of the engine has turned; it always does, whether trainings run or not."""


class TrainingSource(Protocol):
    """Gives trainings to the engine, which reports on them."""

    def __len__(self) -> int:
        """Return how many trainings are left."""

    def next(self) -> Training | None:
        """Return the next training; None if none is left, or none is ready now."""

    def report(self, training: Training, row: Row) -> bool:
        """Take the figures of an epoch; True asks the engine to stop the training."""

    def end(self, training: Training, outcome: Outcome, row: Row) -> Outcome:
        """Take the end of a training with its last figures; return its final outcome."""

    def reason(self, training: Training) -> str:
        """Return why a training that ran to its end has failed."""


class ListedTrainings:
    """Gives out a list of trainings and stops none of them early."""

    def __init__(self, trainings: Iterable[Training]) -> None:
        self._left = deque(trainings)

    def __len__(self) -> int:
        return len(self._left)

    def next(self) -> Training | None:
        return self._left.popleft() if self._left else None

    def report(self, training: Training, row: Row) -> bool:
        return False

    def end(self, training: Training, outcome: Outcome, row: Row) -> Outcome:
        return outcome

    def reason(self, training: Training) -> str:
        return ""
