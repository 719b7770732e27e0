"""A sweep's trials for tables and reports: ranks from the study, figures from the run folders."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.training.run_folder import RunFolder
from sweeps.search.study import ENDED, StudyReader, name_of, training_of
from sweeps.search.trial_record import State, TrialRecord
from sweeps.spec.objective import Objective
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training

if TYPE_CHECKING:
    from sweeps.choosing.final_choice import FinalChoice
    from sweeps.search.label_free_ranking import Agreement

Curve = list[tuple[int, float]]  # epoch, value
BEST, OTHERS = 100, 200  # trials in a crowded picture


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        spec: the sweep.
        record: what the study says of it.
        figures: (epochs,) of each figure that was read, NaN where an epoch has none; always
            "seconds", and the objectives of one that did not run to its end.
    """

    spec: SweepSettings
    record: TrialRecord
    figures: Mapping[str, NDArray[np.float64]]

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.record.number

    @property
    def name(self) -> str:
        """Of its run in every store."""
        return name_of(self.spec, self.number)

    @property
    def outcome(self) -> State:
        """How it ended."""
        return self.record.state

    @property
    def drawn(self) -> Mapping[str, Any]:
        """Values by variable."""
        return self.record.drawn

    @cached_property
    def training(self) -> Training:
        """Its training."""
        return training_of(self.spec, self.number, self.drawn)

    @cached_property
    def values(self) -> list[float] | None:
        """The objectives; of a trial that was stopped, where it stood; None without any."""
        if self.outcome == "complete":
            return list(self.record.values)
        found = [one.of_curve(self.figures[one.metric]) for one in self.spec.objectives]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None

    @property
    def value(self) -> float:
        """The first objective; to be asked only of a trial that has one."""
        assert self.values is not None
        return self.values[0]

    @property
    def score(self) -> float:
        """The first objective, turned so that more is better."""
        return self.spec.objectives[0].sign * self.value

    @property
    def epochs(self) -> int:
        """Epochs that it ran."""
        return len(self.figures["seconds"])

    @property
    def seconds(self) -> float:
        """Training and validation, without start-up."""
        return float(np.nansum(self.figures["seconds"]))

    def curve(self, metric: str) -> Curve:
        """Finite values of a figure by epoch."""
        values = self.figures[metric]
        known = np.isfinite(values)
        epochs = self.figures["epoch"][known].astype(int)
        return list(zip(epochs.tolist(), values[known].tolist(), strict=True))

    def at(self, metric: str, epoch: int) -> float | None:
        """The last finite value of a figure up to an epoch; None without any."""
        values = self.figures[metric][self.figures["epoch"] <= epoch]
        known = values[np.isfinite(values)]
        return float(known[-1]) if len(known) else None

    def last(self, metric: str) -> float | None:
        """The last finite value of a figure; None without any."""
        return self.at(metric, sys.maxsize)


@dataclass(frozen=True)
class Trials:
    """All trials of a sweep that have ended, and the choice among them.

    Attributes:
        spec: the sweep.
        all: every one, by number.
        ranked: the best first, as the sweep itself ranks them: complete, breaking no constraint;
            of several objectives those alone that no other beats in all of them.
        running: how many still run.
        final: the choice and its test scores, once there are any.
    """

    spec: SweepSettings
    all: list[Trial]
    ranked: list[Trial]
    running: int = 0
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

    def of(self, *outcomes: State) -> list[Trial]:
        """Those that ended so."""
        return [trial for trial in self.all if trial.outcome in outcomes]

    @cached_property
    def shown(self) -> list[Trial]:
        """Those in crowded pictures: all; of many the best, and others from all over the search."""
        if len(self.all) <= BEST + OTHERS:
            return self.all
        best = {self.winner, *(trial.number for trial in self.ranked[:BEST])}
        others = [trial.number for trial in self.all if trial.number not in best]
        chosen = best | set(others[:: math.ceil(len(others) / OTHERS)])
        return [trial for trial in self.all if trial.number in chosen]

    @property
    def crowd(self) -> str:
        """What pictures of :attr:`shown` trials say of it; empty if they show all."""
        if self.shown is self.all:
            return ""
        best = min(BEST, len(self.ranked))
        return f" Of many trials the {best} best and {len(self.shown) - best} others."

    @cached_property
    def complete(self) -> list[Trial]:
        """Those that ran to their end."""
        return self.of("complete")

    @cached_property
    def agreements(self) -> list[Agreement]:
        """How well scores without labels ranked the complete ones."""
        from sweeps.search.label_free_ranking import LABELLED, SCORES, agreements

        return agreements(
            {
                trial.number: {name: trial.last(name) for name in (*SCORES, *LABELLED)}
                for trial in self.complete
            }
        )


def read_trials(study: StudyReader, final: FinalChoice | None = None) -> Trials:
    """Read all trials that have ended, with the figures that a report draws."""
    from sweeps.search.label_free_ranking import LABELLED, SCORES

    study = study.as_it_is_now()  # a trial may end while this reads
    objectives = [objective.metric for objective in study.spec.objectives]
    found = {one.number: one for one in read_ended(study, (*objectives, *SCORES, *LABELLED))}
    ranked = [found[record.number] for record in study.ranking()]
    return Trials(study.spec, list(found.values()), ranked, study.counts()["running"], final)


def read_ended(study: StudyReader, more: Sequence[str] = ()) -> list[Trial]:
    """Read the trials that have ended, by number.

    Args:
        more: figures to read beside those that :class:`Trial` always has.
    """
    return [read_trial(study.spec, record, more) for record in study.trials(*ENDED)]


def read_trial(spec: SweepSettings, record: TrialRecord, more: Sequence[str] = ()) -> Trial:
    """Read a trial's figures; those that it never reported are NaN throughout."""
    wanted = ["seconds", *(["epoch"] if more else []), *more]
    if record.state != "complete":  # of the others the study has the objectives
        wanted += [objective.metric for objective in spec.objectives]
    names = list(dict.fromkeys(wanted))
    table = RunFolder(spec.folder.trials / name_of(spec, record.number)).table(names)
    return Trial(spec, record, dict(zip(names, table.T, strict=True)))
