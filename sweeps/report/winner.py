"""The winner in a report: how its rivals did over the seeds, and the words that train it again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from c2vl.config.experiment import Experiment
from c2vl.config.reading import flatten
from sweeps.choosing.finals import Final, seeded
from sweeps.choosing.intervals import half_width
from sweeps.report.trials import Trials, sign
from sweeps.spec.training_job import Job


@dataclass(frozen=True)
class Judged:
    """A candidate over its seeds, on validation.

    Attributes:
        name: of its trial.
        number: of its trial.
        by_seed: the first objective by seed.
        mean: over the seeds.
        half: half of the 95 % interval of the mean (Student's t); None with one seed.
        winner: whether it was chosen.
    """

    name: str
    number: int
    by_seed: Mapping[int, float]
    mean: float
    half: float | None
    winner: bool


def judged(trials: Trials, final: Final | None) -> list[Judged]:
    """Return the best trials with all seeds that they have been trained with, the winner first."""
    spec = trials.spec
    objective = spec.objectives[0]
    chosen = trials.ranked[: spec.final.candidates]
    if final is not None:
        chosen = [t for t in trials.complete if str(t.number) in final.judged]
    found = []
    for trial in chosen:
        values = {}
        for job in seeded(spec, trial.job):
            own = objective.value(job.rows())
            if own is not None and (job.done or job is trial.job):
                values[job.experiment.seed] = own
        if not values and trial.values:
            values[trial.job.experiment.seed] = trial.values[0]
        number, name = trial.number, trial.job.name
        won = final is not None and number == final.trial
        mean = statistics.mean(values.values())
        found.append(Judged(name, number, values, mean, half_width(list(values.values())), won))
    return sorted(found, key=lambda one: (not one.winner, -sign(objective) * one.mean))


def winning_job(trials: Trials, final: Final | None) -> Job | None:
    """Return the training whose encoder is kept; the best so far while nothing is chosen."""
    if final is None:
        return trials.ranked[0].job if trials.ranked else None
    for trial in trials.complete:
        if trial.number == final.trial:
            runs = {job.name: job for job in seeded(trials.spec, trial.job)}
            return runs.get(final.run, trial.job)
    return None


def winning_overrides(base: Experiment, job: Job) -> list[str]:
    """Return what turns the base experiment into a trial's, as ``key=value`` words."""
    plain = flatten(base.model_dump(mode="json"))
    chosen = flatten(job.experiment.model_dump(mode="json"))
    return [
        f"{key}={json.dumps(value)}"
        for key, value in chosen.items()
        if key != "name" and plain.get(key) != value
    ]
