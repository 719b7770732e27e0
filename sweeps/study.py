"""The sweep's Optuna study: proposes, judges and remembers trials, over any number of restarts.

The study is the one record of what was tried. A trial that a kill left RUNNING is handed out again
under its number, with its parameters and its run folder, so that the count stays exact and its
training goes on from a checkpoint. Pruning decisions live in the study too.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter, deque
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from c2vl.errors import UserError
from sweeps.jobs import Job, Outcome, Row
from sweeps.space import draw, experiment, grid
from sweeps.spec import Objective, SweepSettings

ENDED: dict[TrialState, Outcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
log = logging.getLogger(__name__)
ENQUEUED, OWNER, IMPOSSIBLE = "points enqueued", "sweep_id", "impossible"


class StudyReader:
    """What a study says of its trials; reads only.

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
        folder = self.spec.folder / "trials" / name
        return Job(name, settings, folder, "trial", number, values)

    def counts(self) -> Counter[str]:
        """Trials by outcome, and those "running"."""
        return Counter(
            ENDED.get(trial.state, "running")
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING
        )

    def ended(self) -> list[tuple[Job, Outcome]]:
        """All trials that have run and ended, and how."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state in ENDED and not trial.user_attrs.get(IMPOSSIBLE):
                found.append((self.job(trial.number, trial.params), ENDED[trial.state]))
        return found

    def ranked(self) -> list[tuple[Job, float]]:
        """Complete trials, best first by the first objective, with its value.

        Of several objectives only the trials that no other beats in all of them are ranked.
        """
        objective = self.spec.objectives[0]
        trials: list[FrozenTrial] = (
            self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if len(self.spec.objectives) == 1
            else self.study.best_trials
        )
        sign = -1 if objective.direction == "maximize" else 1
        trials = sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))
        return [(self.job(trial.number, trial.params), trial.values[0]) for trial in trials]


class StudySource(StudyReader):
    """Trials of a study, as jobs.

    Attributes:
        study: the Optuna study, under the sweep's name.
        spec: the sweep.
    """

    def __init__(self, spec: SweepSettings, identity: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=spec.name,
            storage=_storage(spec.study_uri),
            directions=[objective.direction for objective in spec.objectives],
            load_if_exists=True,
        )
        super().__init__(spec, study)
        if (owner := self.study.user_attrs.get(OWNER, identity)) != identity:
            raise UserError(
                f"study: {spec.study_uri} holds another sweep called {spec.name} ({owner}); "
                "choose another name"
            )
        self.study.set_user_attr(OWNER, identity)
        existing = self.study.get_trials(deepcopy=False)
        # Another seed after a restart: the same one would propose the first session's draws again.
        self.study.sampler = _sampler(spec, spec.sampler.seed + 7919 * len(existing))
        self.study.pruner = _pruner(spec)
        self._enqueue()
        self._interrupted = deque(t for t in existing if t.state == TrialState.RUNNING)
        self._created = sum(t.state != TrialState.WAITING for t in existing)
        self._trials: dict[str, Trial] = {}
        self._pruned: set[str] = set()

    def _enqueue(self) -> None:
        if self.study.user_attrs.get(ENQUEUED):
            return
        points = grid(self.spec.space) if self.spec.sampler.name == "grid" else self.spec.points
        for point in points[: self.spec.trials]:
            self.study.enqueue_trial(point, skip_if_exists=True)  # a kill may have come in between
        self.study.set_user_attr(ENQUEUED, True)

    def __len__(self) -> int:
        return len(self._interrupted) + max(0, self.spec.trials - self._created)

    def next(self) -> Job | None:
        while (trial := self._trial()) is not None:
            try:
                job = self.job(trial.number, draw(self.spec.space, trial))
            except UserError as error:  # a rare draw that the check of the space did not meet
                log.warning("trial %d: %s", trial.number, error)
                trial.set_user_attr(IMPOSSIBLE, str(error))
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            self._trials[job.name] = trial
            for row in job.rows():
                self._record(trial, row)
            return job
        return None

    def _trial(self) -> Trial | None:
        if self._interrupted:
            # The only way to a trial that another process asked for is its own constructor;
            # asked for a parameter again, it gives the stored one.
            return Trial(self.study, self._interrupted.popleft()._trial_id)
        if self._created < self.spec.trials:
            self._created += 1
            return self.study.ask()
        return None

    def report(self, job: Job, row: Row) -> bool:
        trial = self._trials[job.name]
        if not self._record(trial, row) or row["epoch"] >= job.experiment.train.epochs:
            return False
        if trial.should_prune():
            self._pruned.add(job.name)
            return True
        return False

    def _record(self, trial: Trial, row: Row) -> bool:
        """Store an intermediate value once; False where the row has none to judge by."""
        if len(self.spec.objectives) > 1:
            return False
        value = row.get(self.spec.objectives[0].metric)
        if value is None or not math.isfinite(value):
            return False
        frozen = self.study._storage.get_trial(trial._trial_id)
        if row["epoch"] not in frozen.intermediate_values:
            trial.report(float(value), row["epoch"])
        return True

    def end(self, job: Job, outcome: Outcome, row: Row) -> Outcome:
        if outcome == "complete" and job.name in self._pruned:
            outcome = "pruned"
        if outcome == "interrupted":
            return outcome  # it stays RUNNING until a resume
        trial = self._trials.pop(job.name)
        if outcome == "complete":
            values = objective_values(self.spec.objectives, [*job.rows(), row])
            if values is None:
                outcome = "failed"
            else:
                self.study.tell(trial, values)
        if outcome == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        if outcome == "failed":
            self.study.tell(trial, state=TrialState.FAIL)
        return outcome


def objective_values(objectives: list[Objective], rows: list[Row]) -> list[float] | None:
    """Return each objective's value: the mean of its last so many finite figures.

    Args:
        objectives: what is judged.
        rows: figures by epoch; an epoch that stands there twice counts once.

    Returns:
        None where one of them was never reported.
    """
    by_epoch = {row["epoch"]: row for row in rows if "epoch" in row}
    values = []
    for objective in objectives:
        seen = [
            float(by_epoch[epoch][objective.metric])
            for epoch in sorted(by_epoch)
            if math.isfinite(by_epoch[epoch].get(objective.metric, math.nan))
        ]
        if not seen:
            return None
        kept = seen[-objective.last :]
        values.append(sum(kept) / len(kept))
    return values


def reader(spec: SweepSettings) -> StudyReader:
    """Open a sweep's study for reading.

    Raises:
        UserError: it has none yet.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if spec.study is None and not (spec.folder / "study.db").exists():
        raise UserError(f"{spec.name}: has no study yet; c2vl-sweep resume {spec.name}")
    try:
        study = optuna.load_study(study_name=spec.name, storage=_storage(spec.study_uri))
    except KeyError:
        raise UserError(f"{spec.name}: not in {spec.study_uri}") from None
    return StudyReader(spec, study)


def _storage(uri: str) -> RDBStorage:
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return RDBStorage(uri, engine_kwargs={"connect_args": {"timeout": 60}})
    return RDBStorage(uri)


def _sampler(spec: SweepSettings, seed: int) -> optuna.samplers.BaseSampler:
    startup = spec.sampler.startup_trials
    if spec.sampler.name == "tpe":
        # group: conditional variables are modelled apart, as Optuna advises for them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                n_startup_trials=startup, multivariate=True, group=True, seed=seed
            )
    if spec.sampler.name == "cmaes":
        return optuna.samplers.CmaEsSampler(n_startup_trials=startup, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are all enqueued


def _pruner(spec: SweepSettings) -> optuna.pruners.BasePruner:
    settings = spec.pruner
    if settings.name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction
        )
    if settings.name == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.min_epochs - 1
        )
    return optuna.pruners.NopPruner()
