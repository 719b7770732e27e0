"""Reads the sweep's Optuna study, the one record of its trials; :mod:`.trial_source` adds to it.

Beside the sweep's own trials it holds impossible draws and known trials of an earlier sweep. These
are marked and stay out of every count, ranking and table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import create_engine

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from sweeps.search.database import READING_PATIENCE, asked_again, engine_options
from sweeps.search.optuna_internals import read_study
from sweeps.search.trial_record import State, TrialRecord
from sweeps.spec.objective import ranked
from sweeps.spec.space import experiment
from sweeps.spec.store_addresses import shown, sqlite_file
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Outcome, Training

ENDED: tuple[State, ...] = ("complete", "pruned", "failed")


class StudyReader:
    """Reads a study's trials.

    Args:
        read: returns all trials of the study, by number.

    Attributes:
        spec: the sweep.
    """

    def __init__(self, spec: SweepSettings, read: Callable[[], list[TrialRecord]]) -> None:
        self.spec, self._read = spec, read

    def as_it_is_now(self) -> StudyReader:
        """Return a reader that does not read again: for several questions about one moment."""
        trials = self._read()
        return StudyReader(self.spec, lambda: trials)

    def trials(self, *states: State) -> list[TrialRecord]:
        """Return the sweep's own trials by number.

        Args:
            states: which; default: all that have begun.
        """
        return [one for one in self._read() if one.own and (not states or one.state in states)]

    def counts(self) -> Counter[str]:
        """Return how many trials had each outcome, or are "running"."""
        return Counter(trial.state for trial in self.trials())

    def ended(self) -> list[tuple[Training, Outcome]]:
        """Return all trials that have ended, and how."""
        trials = self.trials(*ENDED)
        return [(training_of(self.spec, t.number, t.drawn), cast(Outcome, t.state)) for t in trials]

    def ranking(self) -> list[TrialRecord]:
        """Return complete trials that may be chosen, best first.

        The best of those with the most seeds is the first one: its mean is the surest. The others
        follow by their means, whatever their seeds, since a final choice trains them anew. Of
        several objectives only the trials on the Pareto front are ranked.
        """
        trials = {one.number: one for one in self.trials("complete") if one.feasible}
        values = {number: trial.values for number, trial in trials.items()}
        best = [trials[number] for number in ranked(self.spec.objectives, values)]
        surest = max(best, key=lambda trial: len(trial.by_seed), default=None)  # the first of them
        return sorted(best, key=lambda trial: trial is not surest)

    def ranked(self) -> list[tuple[Training, float]]:
        """Return the trainings of :meth:`ranking`, each with its first objective."""
        return [(training_of(self.spec, t.number, t.drawn), t.values[0]) for t in self.ranking()]


def no_winner(counts: Counter[str]) -> str:
    """Return why there is no trial to choose, given how many had each outcome."""
    if counts["complete"]:
        return (
            f"each of the {counts['complete']} complete trials breaks a constraint on figures or "
            "has a seed that failed"
        )
    if not counts.total():
        return "its budget (max_hours, max_cpu_hours, max_gpu_hours) was spent before any trial"
    ended = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    return f"no trial ran to its end ({ended}); their errors are in MLflow"


def name_of(spec: SweepSettings, number: int) -> str:
    """Return the name of a trial, in every store."""
    return f"{spec.name}-{number:04d}"


def training_of(spec: SweepSettings, number: int, drawn: Mapping[str, Any]) -> Training:
    """Return the training of a trial: its name and folder follow from its number.

    Raises:
        UserError: the drawn settings exclude each other.
    """
    name = name_of(spec, number)
    settings = experiment(spec.base, spec.space, drawn).model_copy(update={"name": name})
    place = spec.folder
    return Training(name, settings, place.trials / name, "trial", number, drawn, place.mirror)


def retraining(
    spec: SweepSettings, origin: str, experiment: Experiment, seed: int, trial: Training | None
) -> Training:
    """Return the training of an experiment with another seed, among the final ones.

    Args:
        origin: what is trained again, for its name.
        trial: whose number and values it bears.
    """
    name = f"{spec.name}-final-{origin}-s{seed}"
    return Training(
        name,
        experiment.model_copy(update={"seed": seed, "name": name}),
        spec.folder.finals / name,
        "final",
        -1 if trial is None else trial.number,
        {} if trial is None else trial.values,
        spec.folder.mirror,
    )


def further_seeds(spec: SweepSettings) -> list[int]:
    """Return the seeds that a trial may get beside its own, in their order."""
    return [seed for seed in spec.final.seeds if seed != spec.base.seed][: spec.repeats - 1]


def repeat(spec: SweepSettings, own: Training, seed: int) -> Training:
    """Return the training of a trial with a further seed, in the search."""
    again = retraining(spec, f"{own.number:04d}", own.experiment, seed, own)
    return replace(again, kind="repeat")


def repeats_of(spec: SweepSettings, trial: TrialRecord) -> list[Training]:
    """Return a trial's trainings with further seeds, those that the search may have begun."""
    seeds = [
        seed
        for seed in further_seeds(spec)
        if trial.state == "running" or str(seed) in trial.by_seed or seed in trial.failed_seeds
    ]
    own = training_of(spec, trial.number, trial.drawn) if seeds else None
    return [repeat(spec, own, seed) for seed in seeds] if own is not None else []


def reader(spec: SweepSettings) -> StudyReader:
    """Open a sweep's study for reading; each question reads it as it is then.

    Raises:
        UserError: it has none yet.
    """
    if (file := sqlite_file(spec.study_uri)) is not None and not file.exists():
        raise UserError(f"{spec.name}: has no study yet; c2vl-sweep resume {spec.words}")
    patience = min(spec.study_patience, READING_PATIENCE)
    engine = create_engine(spec.study_uri, **engine_options(spec.study_uri))

    def read() -> list[TrialRecord]:
        with engine.connect() as connection:
            return read_study(connection, spec.name)

    def ask(*, opened: bool = True) -> list[TrialRecord]:
        try:
            return asked_again(spec.study_uri, patience, read, opened=opened)
        except KeyError:
            raise UserError(f"{spec.name}: not in {shown(spec.study_uri)}") from None

    ask(opened=False)  # says at once what is wrong
    return StudyReader(spec, ask)
