"""What this package uses of Optuna beyond its public interface; each name has a contract test.

tests/sweeps/search/test_optuna_internals.py says which of them an upgrade of Optuna has changed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, DateTime, column, select, table

from sweeps.search.trial_record import (
    BY_SEED,
    FAILED_SEEDS,
    IMPOSSIBLE,
    PRIOR,
    STATES,
    TrialRecord,
)

if TYPE_CHECKING:  # Optuna takes half a second to open a database: readers do without it
    from optuna import Study
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial, Trial

_CONSTRAINT = "constraints:"
_INFINITE = {"INF_POS": float("inf"), "INF_NEG": float("-inf")}


def cached(storage: RDBStorage) -> BaseStorage:
    """Return a relational storage behind the cache that Optuna gives every study.

    ``get_storage`` is exported, and documented as internal. Without the cache each question reads
    all trials anew.
    """
    from optuna.storages import get_storage

    return get_storage(storage)


def running_trial(study: Study, trial_id: int) -> Trial:
    """Return a RUNNING trial that another process asked for; asked again, it gives what it drew.

    Optuna documents no way to such a trial; the constructor takes its id.
    """
    from optuna.trial import Trial

    return Trial(study, trial_id)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Say whether a trial was enqueued with values to try: a key of its system attributes."""
    return "fixed_params" in trial.system_attrs


def read_study(connection: Connection, name: str) -> list[TrialRecord]:
    """Read a study's trials from Optuna's tables, by number, without their values by epoch.

    ``get_trials`` would read these too: 300,000 rows for a thousand trials of 300 epochs.

    Raises:
        KeyError: the database has no study of this name.
        sqlalchemy.exc.SQLAlchemyError: it cannot be read, or its tables have other columns.
    """
    studies = table("studies", column("study_id"), column("study_name"))
    found = connection.execute(select(studies.c.study_id).where(studies.c.study_name == name))
    if (study_id := found.scalar()) is None:
        raise KeyError(name)
    trials = table(
        "trials", column("trial_id"), column("study_id"), column("number"), column("state"),
        column("datetime_start", DateTime()), column("datetime_complete", DateTime()),
    )  # fmt: skip
    own = select(trials.c.trial_id).where(trials.c.study_id == study_id)

    def rows(source: str, *names: str) -> Any:
        found = table(source, column("trial_id"), *map(column, names))
        query = select(found).where(found.c.trial_id.in_(own))
        if names[0] == "key":
            keys = found.c.key
            marks_of_ours = (IMPOSSIBLE, PRIOR, BY_SEED, FAILED_SEEDS)
            query = query.where(keys.in_(marks_of_ours) | keys.startswith(_CONSTRAINT))
        return connection.execute(query.order_by(names[0]))

    drawn: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, _, key, value, distribution in rows(
        "trial_params", "param_id", "param_name", "param_value", "distribution_json"
    ):
        drawn[trial][key] = _external(value, distribution)
    values: dict[int, list[float]] = defaultdict(list)
    for trial, _, value, kind in rows("trial_values", "objective", "value", "value_type"):
        values[trial].append(_INFINITE.get(kind, value))
    marks: dict[int, dict[str, Any]] = defaultdict(dict)
    broken: dict[int, dict[str, float]] = defaultdict(dict)
    for trial, key, value in rows("trial_user_attributes", "key", "value_json"):
        marks[trial][key] = json.loads(value)
    for trial, key, value in rows("trial_system_attributes", "key", "value_json"):
        broken[trial][key.removeprefix(_CONSTRAINT)] = json.loads(value)
    every = connection.execute(
        select(trials).where(trials.c.study_id == study_id).order_by(trials.c.number)
    )
    return [
        TrialRecord(
            number, STATES[state], drawn[id_], values[id_], broken[id_], began, ended,
            prior=marks[id_].get(PRIOR, ""), impossible=marks[id_].get(IMPOSSIBLE, ""),
            by_seed=marks[id_].get(BY_SEED, {}), failed_seeds=marks[id_].get(FAILED_SEEDS, ()),
        )
        for id_, _, number, state, began, ended in every
    ]  # fmt: skip


def _external(value: float, distribution: str) -> Any:
    """Return what was drawn, from the number that the database has for it."""
    name, choices = _kind(distribution)
    if name == "CategoricalDistribution":
        return choices[int(value)]
    return int(value) if name == "IntDistribution" else value


@cache
def _kind(distribution: str) -> tuple[str, list[Any]]:
    found = json.loads(distribution)
    return found["name"], found["attributes"].get("choices", [])
