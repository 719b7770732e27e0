"""A sweep's trials as its report shows them: read once from their folders, and ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from sweeps.choosing.final_choice import FinalChoice
from sweeps.search.label_free_ranking import Agreement, agreements
from sweeps.search.study import StudyReader, feasible
from sweeps.spec.objective import Objective, objective_values
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import Job, Outcome, Row

if TYPE_CHECKING:
    import optuna

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
    """All trials of a sweep that have ended, and the choice among them.

    Attributes:
        spec: the sweep.
        all: every one, by number.
        ranked: the best first, as the sweep itself ranks them: complete, breaking no constraint;
            of several objectives those alone that no other beats in all of them.
        infeasible: numbers of those that break a constraint.
        final: the choice and its test scores, once there are any.
    """

    spec: SweepSettings
    all: list[Trial]
    ranked: list[Trial]
    infeasible: frozenset[int] = frozenset()
    final: FinalChoice | None = None

    @property
    def objective(self) -> Objective:
        """The first objective, by which trials are ranked."""
        return self.spec.objectives[0]

    @property
    def winner(self) -> int | None:
        """Number of the winning trial; while nothing is chosen, of the best one so far."""
        if self.final is not None:
            return self.final.trial
        return self.ranked[0].number if self.ranked else None

    def of(self, *outcomes: Outcome) -> list[Trial]:
        """Those that ended so."""
        return [trial for trial in self.all if trial.outcome in outcomes]

    @cached_property
    def complete(self) -> list[Trial]:
        """Those that ran to their end and have all objectives."""
        return [trial for trial in self.of("complete") if trial.values is not None]

    @cached_property
    def agreements(self) -> list[Agreement]:
        """How well scores without labels ranked the complete ones."""
        return agreements({trial.number: trial.rows for trial in self.complete})


def read_trials(
    spec: SweepSettings, study: optuna.Study, final: FinalChoice | None = None
) -> Trials:
    """Read all trials that have ended: ranks from the study, figures from the folders."""
    reader = StudyReader(spec, study)
    found = {job.number: _read(spec, job, outcome) for job, outcome in reader.ended()}
    ranked = [found[job.number] for job, _ in reader.ranked() if found[job.number].values]
    broken = {t.number for t in reader.trials(TrialState.COMPLETE) if not feasible(t)}
    return Trials(
        spec, [found[number] for number in sorted(found)], ranked, frozenset(broken), final
    )


def read_ended(spec: SweepSettings, ended: Sequence[tuple[Job, Outcome]]) -> list[Trial]:
    """Read the figures of trials that have ended, without their ranks."""
    return [_read(spec, job, outcome) for job, outcome in ended]


def _read(spec: SweepSettings, job: Job, outcome: Outcome) -> Trial:
    rows = job.rows()
    return Trial(job, outcome, rows, objective_values(spec.objectives, rows))


def scored(objectives: Sequence[Objective], trial: Trial) -> list[float]:
    """A trial's objectives, all turned so that more is better."""
    assert trial.values is not None
    pairs = zip(objectives, trial.values[: len(objectives)], strict=True)
    return [objective.sign * value for objective, value in pairs]
