"""What we use of Optuna beyond its public interface still does what we need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import create_engine

from sweeps.search.optuna_internals import cached, is_enqueued, read_study, running_trial
from sweeps.search.storage import Delegate, PatientStorage, open_storage
from sweeps.search.trial_record import IMPOSSIBLE, PRIOR, TrialRecord


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_get_storage_reads_a_trial_that_has_ended_once(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = RDBStorage(uri)
    study = optuna.create_study(storage=cached(storage))
    trial = study.ask()
    study.tell(trial, 1.0)
    assert len(study.trials) == 1
    monkeypatch.setattr(storage, "get_trial", lambda _: pytest.fail("is read again"))
    assert cached(storage) is not storage
    assert study.best_trial.number == 0, "get_storage(RDBStorage) gives a cache no more"


def test_a_trial_is_made_of_its_study_and_id_and_keeps_what_it_drew(uri: str) -> None:
    first = optuna.create_study(study_name="s", storage=uri)
    drawn = first.ask().suggest_float("x", 0, 1)
    storage = open_storage(uri, 0)
    again = optuna.load_study(study_name="s", storage=storage)
    study_id = storage.get_study_id_from_name("s")
    number = again.get_trials()[0].number
    trial = running_trial(again, storage.get_trial_id_from_study_id_trial_number(study_id, number))
    assert trial.number == 0 and trial.suggest_float("x", 0, 1) == drawn, "Trial(study, id)"
    again.tell(trial, 1.0)
    assert first.trials[0].state == TrialState.COMPLETE


def test_an_enqueued_trial_bears_its_values_as_fixed_params(uri: str) -> None:
    study = optuna.create_study(storage=uri)
    study.enqueue_trial({"x": 0.5})
    study.ask()
    study.ask()
    found = [is_enqueued(trial) for trial in study.get_trials()]
    assert found == [True, False], 'system_attrs["fixed_params"]'


def test_a_study_is_read_from_its_tables_as_optuna_reads_it(uri: str) -> None:
    """Tables, columns and codes of values that :func:`read_study` relies on."""
    study = optuna.create_study(study_name="s", storage=uri, directions=["maximize", "minimize"])
    other = optuna.create_study(study_name="another", storage=uri)
    other.add_trial(create_trial(value=0.0))

    def asked(number: int) -> optuna.Trial:
        trial = study.ask()
        trial.suggest_float("lr", 0.001, 1.0, log=True)
        trial.suggest_int("width", 2, 8, step=2)
        trial.suggest_categorical("edge", [None, True, 1.5, "both"])
        if number % 2:
            trial.suggest_float("momentum", 0, 1, step=0.1)
        trial.set_user_attr("verdict", {"epoch": 1})
        return trial

    study.enqueue_trial({"lr": 0.5})
    for number in range(12):
        trial = asked(number)
        trial.set_constraint("rankme <= 4", number - 5.0)
        study.tell(trial, [float("inf"), -float(number)])
    for state, mark in ((TrialState.FAIL, IMPOSSIBLE), (TrialState.PRUNED, "other")):
        trial = asked(0)
        trial.set_user_attr(mark, "why")
        study.tell(trial, state=state)
    asked(0)
    study.add_trial(create_trial(values=[1.0, 2.0], user_attrs={PRIOR: "earlier-0003"}))
    study.enqueue_trial({"lr": 0.1})
    with create_engine(uri).connect() as connection:
        found = read_study(connection, "s")
        with pytest.raises(KeyError):
            read_study(connection, "none")
    assert found == [TrialRecord.of(trial) for trial in study.get_trials()]
    assert [sum(one.own for one in found), found[-1].state] == [14, "waiting"]
    assert [str(one.drawn) for one in found] == [str(t.params) for t in study.get_trials()]


def test_every_call_of_a_study_is_repeated_while_its_storage_is_away(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version may give storages another method: then it must pass through as well."""
    names = {name for name, one in vars(BaseStorage).items() if callable(one) and name[0] != "_"}
    assert names <= vars(Delegate).keys() and not PatientStorage.__abstractmethods__
    storage = open_storage(uri, patience=60)
    behind, failed = storage._inner, set[str]()

    def first_lost(name: str) -> Any:
        plain = getattr(behind, name)

        def method(*words: Any, **options: Any) -> Any:
            result = plain(*words, **options)  # done, and its answer is lost
            if name not in failed and name.startswith(("set_", "get_")):
                failed.add(name)
                raise sqlalchemy.exc.OperationalError("lost", None, Exception("connection reset"))
            return result

        return method

    for name in names:
        monkeypatch.setattr(behind, name, first_lost(name))
    monkeypatch.setattr(storage, "_closed", _Hurry())
    study = optuna.create_study(study_name="s", storage=storage)
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.report(1.0, 1)
    trial.set_user_attr("a", 1)
    study.tell(trial, 2.0)
    study.set_user_attr("b", 1)
    (told,) = study.get_trials()
    assert (told.values, told.intermediate_values, told.user_attrs) == ([2.0], {1: 1.0}, {"a": 1})
    wanted = {"set_trial_state_values", "set_trial_param", "set_trial_user_attr", "get_all_trials"}
    assert wanted <= failed and storage.interruptions == len(failed)


class _Hurry:
    def is_set(self) -> bool:
        return False

    def wait(self, _: float) -> None:
        pass
