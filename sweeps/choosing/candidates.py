"""The choice, on validation alone: the best trials are trained again with other seeds.

A lucky seed must not win: with ``final.seeds`` the best ``final.candidates`` trials are ranked by
their mean over the seeds. With ``final.rounds`` all candidates get one seed after another, and
after each the better half stays (successive halving: Jamieson and Talwalkar, AISTATS 2016). The
last one gets all seeds.

The winner from before an extension already has all seeds: it stays a candidate to the last round,
however its search value ranks among the new trials.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from sweeps.choosing.final_choice import (
    FinalChoice,
    former_scores,
    former_winners,
    read_choice,
    write_choice,
)
from sweeps.choosing.final_trainings import Ranked, seeded
from sweeps.spec.objective import Objective
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training


@dataclass(frozen=True)
class Candidate:
    """A trial that may win.

    Attributes:
        trial: itself.
        value: what it was ranked by in the search; with `repeats` a mean over seeds.
        runs: its trainings, one a seed; the trial itself first, where it has one of the seeds.
        former: whether it won before the sweep was extended.
    """

    trial: Training
    value: float
    runs: list[Training]
    former: bool

    def values(self, objective: Objective, seeds: int) -> list[float]:
        """Return the objective of its first ``seeds`` trainings.

        Raises:
            UserError: one after the search never reported it.
        """
        found = []
        for training in self.runs[:seeds]:
            own = objective.value(training.rows())
            if own is None and training is not self.trial:
                raise UserError(
                    f"{training.name}: never reported {objective.metric} as a finite number, so "
                    f"trial {self.trial.number} has no mean over its seeds; remove "
                    f"{training.folder}, and `c2vl-sweep resume` trains it again"
                )
            found.append(self.value if own is None else own)
        return found


def _distinct(spec: SweepSettings, ranked: Ranked) -> Ranked:
    """Return trials of different settings, best first; a former winner stands for its own.

    A setting that was drawn twice would take two places, with one and the same trainings.
    """
    same: dict[str, Any] = {"name": ""} | ({"seed": 0} if spec.final.seeds else {})
    settings = [trial.experiment.model_copy(update=same).model_dump_json() for trial, _ in ranked]
    former = former_winners(spec.folder)
    first = {text: rank for rank, text in reversed(list(enumerate(settings)))}
    first |= {text: n for n, text in enumerate(settings) if ranked[n][0].number in former}
    return [ranked[rank] for rank, text in enumerate(settings) if first[text] == rank]


def _candidates(spec: SweepSettings, ranked: Ranked) -> list[Candidate]:
    former, kept = former_winners(spec.folder), spec.keep.encoders
    having = {trial.number for trial, _ in (ranked if kept == "all" else ranked[:kept])}
    return [
        Candidate(
            trial,
            value,
            sorted(seeded(spec, trial), key=lambda training: training is not trial),
            trial.number in former,
        )
        for rank, (trial, value) in enumerate(_distinct(spec, ranked))
        if (rank < spec.final.candidates and trial.number in having) or trial.number in former
    ]


def _rounds(left: list[Candidate], in_rounds: bool) -> range:
    """After how many seeds one chooses; a first seed that all had in the search decides nothing."""
    total = len(left[0].runs)
    if not in_rounds:
        return range(total, total + 1)
    return range(2 if all(one.runs[0] is one.trial for one in left) else 1, total + 1)


def rounds(spec: SweepSettings, ranked: Ranked) -> Iterator[list[Training]]:
    """Yield the trainings that the choice needs, round by round; run each round before the next.

    Args:
        spec: says how many candidates, which seeds, and whether in rounds.
        ranked: complete trials, best first.
    """
    left = _candidates(spec, ranked)
    trained = 0
    for seeds in _rounds(left, spec.final.rounds):
        yield [
            training
            for one in left
            for training in one.runs[trained:seeds]
            if training is not one.trial
        ]
        if seeds < len(left[0].runs):
            left, trained = _stay(spec.objectives[0], left, seeds)[0], seeds


def _tied_out(in_order: Sequence[tuple[int, float]], kept: int, staying: set[int]) -> list[int]:
    """Return trials past the first ``kept`` that are worth what the last of these is worth.

    Args:
        in_order: number and value of each, best first.
        kept: how many stay for their value.
        staying: all that stay.
    """
    worth = in_order[:kept][-1][1]
    return [n for n, value in in_order[kept:] if value == worth and n not in staying]


def _stay(
    objective: Objective, left: list[Candidate], seeds: int
) -> tuple[list[Candidate], list[int]]:
    """Return who stays after ``seeds`` seeds: the better half, rounded up; one after the last.

    Returns:
        They, and the trials of a half left behind that tie with the last of the better one.
    """
    mean = {one.trial.number: statistics.mean(one.values(objective, seeds)) for one in left}
    order = sorted(left, key=lambda one: -objective.sign * mean[one.trial.number])
    if seeds == len(left[0].runs):
        return order[:1], []
    half = (len(left) + 1) // 2
    stayed = order[:half] + [one for one in order[half:] if one.former]
    numbers = [one.trial.number for one in order]
    values = [(number, mean[number]) for number in numbers]
    return stayed, _tied_out(values, half, {one.trial.number for one in stayed})


def choose(spec: SweepSettings, ranked: Ranked) -> FinalChoice:
    """Choose the winner by the mean over its seeds; keep a choice that is on disk.

    Args:
        spec: says how many candidates, and which seeds.
        ranked: complete trials, best first; the trainings of :func:`rounds` are done.
    """
    if (known := read_choice(spec.folder)) is not None:
        return known
    objective, left = spec.objectives[0], _candidates(spec, ranked)
    candidate_values: dict[str, list[float]] = {}
    values_in_search = [(trial.number, value) for trial, value in _distinct(spec, ranked)]
    candidates = {one.trial.number for one in left}
    tied = _tied_out(values_in_search, spec.final.candidates, candidates)
    for seeds in _rounds(left, spec.final.rounds):
        candidate_values |= {str(one.trial.number): one.values(objective, seeds) for one in left}
        left, more = _stay(objective, left, seeds)
        tied += more
    winner = left[0]
    values = winner.values(objective, len(winner.runs))
    best, _ = max(zip(winner.runs, values, strict=True), key=lambda run: objective.sign * run[1])
    final = FinalChoice(
        name=spec.name,
        data=_data(spec.base),
        metric=objective.metric,
        trial=winner.trial.number,
        values=dict(winner.trial.values),
        run=best.name,
        folder=str(best.folder.relative_to(spec.folder.path)),
        validation={
            training.name: value for training, value in zip(winner.runs, values, strict=True)
        },
        candidate_values=candidate_values,
        tied=tied,
        test=former_scores(spec.folder, winner.trial.number),
    )
    write_choice(spec.folder, final)
    return final


def _data(experiment: Experiment) -> str:
    from c2vl.skeletons.store import read_manifest

    return f"{read_manifest(experiment.data.store)['dataset']} {experiment.data.split}"
