"""Who stops trials: Optuna's pruners, and decisions that stand whatever is restarted."""

from __future__ import annotations

import copy
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from sweeps.search.rank_correlation import rank_correlation
from sweeps.spec.sweep import PrunerSettings, SweepSettings

VERDICT = "verdict"


def pruner(spec: SweepSettings, study: optuna.Study) -> BasePruner:
    """Return the sweep's pruner."""
    settings = spec.pruner
    if settings.name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction
        )
    if settings.name == "hyperband":
        made = optuna.pruners.HyperbandPruner(
            min_resource=settings.min_epochs,
            max_resource=spec.max_epochs,
            reduction_factor=settings.reduction,
        )
        # It makes its brackets when it is first asked; TPE, which models each of them apart, has
        # to see them from the first trial on.
        made.prune(study, optuna.trial.create_trial(state=TrialState.RUNNING))
        return made
    if settings.name == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.min_epochs - 1
        )
    return optuna.pruners.NopPruner()


def trusted(settings: PrunerSettings, study: optuna.Study, epoch: int) -> bool:
    """Say whether a study's trials may be stopped at an epoch (``min_rank_correlation``).

    Those that were stopped have no final value: the correlation is that of the ones that went on,
    and so a little too low once a pruner has been at work.
    """
    if settings.min_rank_correlation is None:
        return True
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ended = [(t.intermediate_values, t.value) for t in complete if t.value is not None]
    found, count = rank_correlation(ended, epoch)
    return count >= max(2, settings.startup_trials) and found >= settings.min_rank_correlation


def judge(study: optuna.Study, trial: optuna.Trial, epoch: int, settings: PrunerSettings) -> bool:
    """Decide whether a trial stops at an epoch whose value has been reported.

    Optuna notes at a rung that a trial was there, and only then is it told whether it stays. A kill
    in between would let it through when it is asked again. So the decision is written down first,
    together with the notes: asked again for the same epoch, it is the same.

    Args:
        study: with its pruner.
        trial: one that is running.
        epoch: of its last value.
        settings: of the pruner.
    """
    storage = study._storage
    frozen = storage.get_trial(trial._trial_id)
    verdict = frozen.user_attrs.get(VERDICT)
    if verdict is None or verdict["epoch"] != epoch:
        view, notes = copy.copy(study), _Notes(storage)
        view._storage = notes  # type: ignore[assignment]  # it passes for one
        wanted = bool(study.pruner.prune(view, frozen))
        pruned = wanted and trusted(settings, study, epoch)
        verdict = {"epoch": epoch, "pruned": pruned, "notes": notes.kept}
        if not wanted and not notes.kept:
            return False  # nothing that a restart could lose
        storage.set_trial_user_attr(trial._trial_id, VERDICT, verdict)
    for key, value in verdict["notes"].items():
        storage.set_trial_system_attr(trial._trial_id, key, value)
    return bool(verdict["pruned"])


class _Notes:
    """A storage that keeps back what a pruner writes."""

    def __init__(self, storage: optuna.storages.BaseStorage) -> None:
        self._storage = storage
        self.kept: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep a note."""
        self.kept[key] = value
