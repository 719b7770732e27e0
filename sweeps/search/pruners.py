"""Optuna's pruners, and decisions to stop a trial that outlive any restart."""

from __future__ import annotations

from typing import Any, assert_never

import optuna
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from sweeps.search.rank_correlation import rank_correlation
from sweeps.search.storage import Delegate
from sweeps.search.trial_record import PRIOR
from sweeps.spec.sweep import PrunerSettings

VERDICT = "verdict"


def pruner(settings: PrunerSettings, epochs: int, study: optuna.Study) -> BasePruner:
    """Return the pruner of a study whose longest trial has so many epochs.

    Args:
        study: holds what it knows of an earlier sweep already.
    """
    if settings.name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction
        )
    if settings.name == "hyperband":
        made = optuna.pruners.HyperbandPruner(
            min_resource=settings.min_epochs,
            max_resource=epochs,
            reduction_factor=settings.reduction,
        )
        # Hyperband makes its brackets at its first decision; TPE, which models each bracket apart,
        # needs them from the first trial on.
        made.prune(study, optuna.trial.create_trial(state=TrialState.RUNNING))
        return made
    if settings.name == "median":
        # Known trials of an earlier sweep have no values by epoch, and Optuna would count them
        known = sum(PRIOR in trial.user_attrs for trial in study.get_trials(deepcopy=False))
        return optuna.pruners.MedianPruner(
            n_startup_trials=settings.startup_trials + known,
            n_warmup_steps=settings.min_epochs - 1,
        )
    if settings.name == "none":
        return optuna.pruners.NopPruner()
    assert_never(settings.name)


def trusted(settings: PrunerSettings, study: optuna.Study, epoch: int) -> bool:
    """Say whether a study's trials may be stopped at an epoch (``min_rank_correlation``).

    Pruned trials have no final value. So the correlation is that of the others, and a little too
    low once the pruner has stopped some.
    """
    if settings.min_rank_correlation is None:
        return True
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ended = [(t.intermediate_values, t.value) for t in complete if t.value is not None]
    found, count = rank_correlation(ended, epoch)
    return count >= max(2, settings.startup_trials) and found >= settings.min_rank_correlation


class DurablePruner:
    """Decides whether trials stop, and gives the same decision after a restart.

    An Optuna pruner notes on a trial that it has reached a rung before it returns its decision. If
    a kill came between note and decision, the pruner would let the trial pass the next time. So
    decision and notes are stored together, and only then does the trial get the notes.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, settings: PrunerSettings) -> None:
        self._study, self._storage, self._settings = study, storage, settings
        self._notes = _Notes(storage)  # type: ignore[abstract]  # its methods are made
        self._view = optuna.load_study(
            study_name=study.study_name, storage=self._notes, pruner=study.pruner
        )

    def stops(self, trial_id: int, epoch: int) -> bool:
        """Say whether a running trial stops at its last epoch, whose value is stored."""
        trial = self._storage.get_trial(trial_id)
        verdict = trial.user_attrs.get(VERDICT)
        if verdict is None or verdict["epoch"] != epoch:
            self._notes.kept = {}
            wanted = self._study.pruner.prune(self._view, trial)
            if not wanted and not self._notes.kept:
                return False  # a restart decides the same
            pruned = wanted and trusted(self._settings, self._study, epoch)
            verdict = {"epoch": epoch, "pruned": bool(pruned), "notes": self._notes.kept}
            self._storage.set_trial_user_attr(trial_id, VERDICT, verdict)
        for key, value in verdict["notes"].items():
            self._storage.set_trial_system_attr(trial_id, key, value)
        return bool(verdict["pruned"])


class _Notes(Delegate):
    """A storage that collects a pruner's notes instead of writing them."""

    kept: dict[str, Any]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep a note."""
        self.kept[key] = value
