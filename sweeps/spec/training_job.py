"""What passes between the parts of a sweep: one training to run, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from c2vl.config.experiment import Experiment
from c2vl.training.run_folder import RunFolder

Outcome = Literal["complete", "pruned", "failed", "interrupted"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: of the run, in every store (``demo-0007``).
        experiment: its settings, with paths as the sweep file has them.
        folder: the run's folder, absolute.
        kind: "trial" of the search, or "final": a training after it.
        number: the trial's number in the study; -1 for a final training.
        values: what was drawn, by variable.
    """

    name: str
    experiment: Experiment
    folder: Path
    kind: Literal["trial", "final"] = "trial"
    number: int = -1
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it has run to its end."""
        return RunFolder(self.folder).done

    @property
    def encoder(self) -> Path:
        """Where its encoder is, once it is done."""
        return RunFolder(self.folder).encoder

    def rows(self) -> list[Row]:
        """The figures of every epoch so far, from the run's folder: it outlives any process."""
        return RunFolder(self.folder).rows()

    def warnings(self) -> str:
        """What its training met and went on from, a line each (a checkpoint that was damaged)."""
        return RunFolder(self.folder).warnings()


@dataclass(frozen=True)
class End:
    """How a job ended.

    Attributes:
        outcome: what stands in every store.
        error: the message or traceback of a failure.
        node: the Ray node that it ran on; empty where unknown.
        warnings: what it went on from all the same, a line each.
    """

    outcome: Outcome
    error: str = ""
    node: str = ""
    warnings: str = ""


class Source(Protocol):
    """Gives out jobs one by one, and is told how they go."""

    def __len__(self) -> int:
        """Jobs that are still to be given out."""

    def next(self) -> Job | None:
        """Return the next job; None when there is none left, or, with some left, none just now."""

    def report(self, job: Job, row: Row) -> bool:
        """Take the figures of an epoch; True asks to stop the job."""

    def end(self, job: Job, outcome: Outcome, row: Row) -> Outcome:
        """Take a job's end with its last figures; returns the outcome that stands."""

    def reason(self, job: Job) -> str:
        """Why a job that ran to its end has failed all the same."""


class FixedSource:
    """A list of jobs, none of which is stopped early."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs: Iterator[Job] = iter(jobs)
        self._left = len(jobs)
        self.failed: list[Job] = []

    def __len__(self) -> int:
        return self._left

    def next(self) -> Job | None:
        job = next(self._jobs, None)
        self._left -= job is not None
        return job

    def report(self, job: Job, row: Row) -> bool:
        return False

    def end(self, job: Job, outcome: Outcome, row: Row) -> Outcome:
        if outcome == "failed":
            self.failed.append(job)
        return outcome

    def reason(self, job: Job) -> str:
        return ""
