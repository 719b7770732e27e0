"""The sweep's Optuna study, the one record of its trials; :mod:`.trial_source` adds to it.

Beside the sweep's own trials it holds impossible draws and known trials of an earlier sweep. These
are marked and stay out of every count, ranking and table.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from c2vl.support.errors import UserError
from sweeps.search.storage import READING_PATIENCE, open_storage
from sweeps.spec.objective import ranked
from sweeps.spec.space import experiment
from sweeps.spec.store_addresses import shown
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import Job, Outcome

ENDED: dict[TrialState, Outcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
IMPOSSIBLE, PRIOR = "impossible", "prior"  # marks of a trial


class StudyReader:
    """Reads a study's trials.

    Attributes:
        spec: the sweep.
        study: the Optuna study, under the sweep's name.
    """

    def __init__(self, spec: SweepSettings, study: optuna.Study) -> None:
        self.spec, self.study = spec, study

    def job(self, number: int, values: dict[str, Any]) -> Job:
        """Return the job of a trial: its name and folder follow from its number.

        Raises:
            UserError: the drawn settings exclude each other.
        """
        name = f"{self.spec.name}-{number:04d}"
        settings = experiment(self.spec.base, self.spec.space, values)
        settings = settings.model_copy(update={"name": name})
        folder = self.spec.folder.trials / name
        return Job(name, settings, folder, "trial", number, values)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the sweep's own trials by number.

        Args:
            states: which; default: all that have begun.
        """
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False, states=states or None)
            if trial.state != TrialState.WAITING
            and not trial.user_attrs.get(IMPOSSIBLE)
            and not trial.user_attrs.get(PRIOR)
        ]

    def counts(self) -> Counter[str]:
        """Return how many trials had each outcome, or are "running"."""
        return Counter(ENDED.get(trial.state, "running") for trial in self.trials())

    def ended(self) -> list[tuple[Job, Outcome]]:
        """Return all trials that have ended, and how."""
        return [(self.job(t.number, t.params), ENDED[t.state]) for t in self.trials(*ENDED)]

    def ranked(self) -> list[tuple[Job, float]]:
        """Return complete trials that break no constraint, best first, with the first objective.

        Of several objectives only the trials on the Pareto front are ranked.
        """
        trials = {t.number: t for t in self.trials(TrialState.COMPLETE) if feasible(t)}
        order = ranked(self.spec.objectives, {n: trial.values for n, trial in trials.items()})
        return [(self.job(n, trials[n].params), trials[n].values[0]) for n in order]


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial that has ended breaks no constraint."""
    return all(broken <= 0 for broken in trial.constraints.values())


def reader(spec: SweepSettings) -> StudyReader:
    """Open a sweep's study for reading.

    Raises:
        UserError: it has none yet.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if spec.study is None and not spec.folder.study.exists():
        raise UserError(f"{spec.name}: has no study yet; c2vl-sweep resume {spec.name}")
    try:
        storage = open_storage(spec.study_uri, min(spec.study_patience, READING_PATIENCE))
        study = optuna.load_study(study_name=spec.name, storage=storage)
    except KeyError:
        raise UserError(f"{spec.name}: not in {shown(spec.study_uri)}") from None
    return StudyReader(spec, study)
