"""A sweep's trials as its report shows them: read once from their folders, judged and ordered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sweeps.jobs import Job, Outcome, Row
from sweeps.spec import Objective, SweepSettings
from sweeps.study import objective_values

Curve = list[tuple[int, float]]  # epoch, value


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        job: its name, settings, folder and what was drawn.
        outcome: how it ended.
        rows: its figures by epoch.
        values: the objectives; of a trial that was stopped, where it stood; None without any.
    """

    job: Job
    outcome: Outcome
    rows: list[Row]
    values: list[float] | None

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.job.number

    @property
    def value(self) -> float:
        """The first objective; to be asked only of a trial that has one."""
        assert self.values is not None
        return self.values[0]

    @property
    def epochs(self) -> int:
        """Epochs that it ran."""
        return max((row["epoch"] for row in self.rows), default=0)

    @property
    def seconds(self) -> float:
        """Training and validation, without start-up."""
        return float(sum(row.get("seconds", 0.0) for row in self.rows))

    def curve(self, metric: str) -> Curve:
        """Finite values of a figure by epoch."""
        found = {
            int(row["epoch"]): float(row[metric])
            for row in self.rows
            if math.isfinite(row.get(metric, math.nan))
        }
        return sorted(found.items())


@dataclass(frozen=True)
class Trials:
    """All trials of a sweep that have ended.

    Attributes:
        spec: the sweep.
        all: every one, by number.
    """

    spec: SweepSettings
    all: list[Trial]

    def of(self, *outcomes: Outcome) -> list[Trial]:
        """Those that ended so."""
        return [trial for trial in self.all if trial.outcome in outcomes]

    @cached_property
    def complete(self) -> list[Trial]:
        """Those that ran to their end and have all objectives."""
        return [trial for trial in self.of("complete") if trial.values is not None]

    @cached_property
    def front(self) -> list[Trial]:
        """Complete trials that no other beats in every objective, best of the first one first."""
        scores = [scored(self.spec.objectives, trial) for trial in self.complete]
        kept = [
            trial
            for trial, own in zip(self.complete, scores, strict=True)
            if not any(other != own and _no_worse(other, own) for other in scores)
        ]
        return self._sorted(kept)

    @cached_property
    def ranked(self) -> list[Trial]:
        """Complete trials, best first; of several objectives the undominated ones alone."""
        return self._sorted(self.complete) if len(self.spec.objectives) == 1 else self.front

    def _sorted(self, trials: list[Trial]) -> list[Trial]:
        first = self.spec.objectives[:1]
        return sorted(trials, key=lambda trial: (-scored(first, trial)[0], trial.number))


def read_trials(spec: SweepSettings, ended: Sequence[tuple[Job, Outcome]]) -> Trials:
    """Read the figures of all trials that have ended."""
    found = []
    for job, outcome in ended:
        rows = job.rows()
        found.append(Trial(job, outcome, rows, objective_values(spec.objectives, rows)))
    return Trials(spec, sorted(found, key=lambda trial: trial.number))


def sign(objective: Objective) -> int:
    """1 where more is better, else -1."""
    return 1 if objective.direction == "maximize" else -1


def scored(objectives: Sequence[Objective], trial: Trial) -> list[float]:
    """A trial's objectives, all turned so that more is better."""
    assert trial.values is not None
    pairs = zip(objectives, trial.values[: len(objectives)], strict=True)
    return [sign(objective) * value for objective, value in pairs]


def _no_worse(one: list[float], other: list[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))
