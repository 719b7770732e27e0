"""The winner in a report: how its rivals did over the seeds, and the words that train it again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from c2vl.config.experiment import Experiment
from c2vl.config.reading import flatten
from c2vl.support.intervals import ends, interval
from sweeps.choosing.final_choice import top_of
from sweeps.choosing.final_trainings import seeded
from sweeps.report.trials import Trials
from sweeps.spec.training import Training


@dataclass(frozen=True)
class CandidateSummary:
    """A candidate over its seeds, on validation.

    Attributes:
        name: of its trial.
        number: of its trial.
        metric: name of the first objective.
        by_seed: the first objective by seed.
        winner: whether it was chosen.
    """

    name: str
    number: int
    metric: str
    by_seed: Mapping[int, float]
    winner: bool

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.mean(self.by_seed.values())

    @property
    def ends(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, within what the figure can be; None with one seed."""
        return ends(list(self.by_seed.values()), top_of(self.metric))

    @property
    def interval(self) -> str:
        """That interval in words; empty with one seed."""
        return interval(list(self.by_seed.values()), ".4g", top_of(self.metric))


def candidate_summaries(trials: Trials) -> list[CandidateSummary]:
    """Return the best trials with all seeds that they have been trained with, the winner first."""
    spec, final, objective = trials.spec, trials.final, trials.objective
    chosen = trials.ranked[: spec.final.candidates]
    if final is not None:
        chosen = [t for t in trials.complete if str(t.number) in final.candidate_values]
    found = []
    for trial in chosen:
        values = {}
        for training in seeded(spec, trial.training):
            own = objective.value(training.rows())
            if own is not None and (training.done or training is trial.training):
                values[training.experiment.seed] = own
        if not values:
            values[trial.training.experiment.seed] = trial.value
        won = final is not None and trial.number == final.trial
        found.append(
            CandidateSummary(trial.training.name, trial.number, objective.metric, values, won)
        )
    return sorted(found, key=lambda one: (not one.winner, -objective.sign * one.mean))


def winning_training(trials: Trials) -> Training | None:
    """Return the training whose encoder is kept; the best so far while nothing is chosen."""
    final = trials.final
    for trial in trials.complete:
        if trial.number == trials.winner:
            runs = {training.name: training for training in seeded(trials.spec, trial.training)}
            return runs.get(final.run, trial.training) if final else trial.training
    return None


def winning_overrides(base: Experiment, training: Training) -> list[str]:
    """Return what turns the base experiment into a trial's, as ``key=value`` words."""
    plain = flatten(base.model_dump(mode="json"))
    chosen = flatten(training.experiment.model_dump(mode="json"))
    return [
        f"{key}={json.dumps(value)}"
        for key, value in chosen.items()
        if key != "name" and plain.get(key) != value
    ]
