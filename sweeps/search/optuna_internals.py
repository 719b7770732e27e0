"""What this package uses of Optuna beyond its public interface; each name has a contract test.

tests/sweeps/search/test_optuna_internals.py says which of them an upgrade of Optuna has changed.
"""

from __future__ import annotations

from optuna import Study
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, Trial


def cached(storage: RDBStorage) -> BaseStorage:
    """Return a relational storage behind the cache that Optuna gives every study.

    ``get_storage`` is exported, and documented as internal. Without the cache each question reads
    all trials anew.
    """
    return get_storage(storage)


def running_trial(study: Study, trial_id: int) -> Trial:
    """Return a RUNNING trial that another process asked for; asked again, it gives what it drew.

    Optuna documents no way to such a trial; the constructor takes its id.
    """
    return Trial(study, trial_id)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Say whether a trial was enqueued with values to try: a key of its system attributes."""
    return "fixed_params" in trial.system_attrs
