"""What an earlier sweep hands on, and when its figures may count; hours that are spent."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.search.budget import Budget
from sweeps.search.study import reader
from sweeps.search.trial_record import PRIOR
from sweeps.search.trial_source import TrialSource
from sweeps.search.warm_start import check_warm_start
from sweeps.spec import provenance
from sweeps.spec.reading import dump_sweep
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import End
from tests.poison import run_without
from tests.small import on_demo
from tests.sweeps.search.test_search import LR, TRIALS, TWO, drive, sweep

DATA = {"store": {"checksum": "a"}}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> SweepSettings:
    """A finished sweep called "s"."""
    spec = sweep(tmp_path_factory.mktemp("warm"), pruner={"name": "none"})
    drive(spec, count())
    write_text(spec.folder / "sweep.yaml", dump_sweep(spec))
    provenance.record(spec.folder, DATA, "")
    return spec


def later(earlier: SweepSettings, **changes: Any) -> SweepSettings:
    values = {"name": "later", "pruner": {"name": "none"}, "warm_start": {"sweep": "s", "top": 2}}
    return sweep(earlier.storage, **{**values, **changes})


def test_points_are_tried_first_and_measured_anew(
    earlier: SweepSettings, caplog: pytest.LogCaptureFixture
) -> None:
    best = [training.values for training, _ in TrialSource(earlier, "me").ranked()[:2]]
    half = (best[0]["optim.lr"] * best[1]["optim.lr"]) ** 0.5
    narrow = {**LR, "low": half} if best[0]["optim.lr"] > half else {**LR, "high": half}
    space = {"optim.lr": narrow, "objective.temperature_intra": TWO["objective.temperature"]}
    spec = later(earlier, space=space, trials=3)
    source = TrialSource(spec, "me")
    trainings = [source.next() for _ in range(3)]
    assert [training.number for training in trainings if training] == [
        0,
        1,
        2,
    ] and source.next() is None
    assert trainings[0] is not None and trainings[1] is not None
    assert trainings[0].values["optim.lr"] == pytest.approx(best[0]["optim.lr"])
    assert trainings[1].values["optim.lr"] != pytest.approx(best[1]["optim.lr"])
    assert f"optim.lr = {best[1]['optim.lr']!r} is outside of this space" in caplog.text
    # What the earlier sweep did not search is as its base had it.
    assert [
        training.values["objective.temperature_intra"] for training in trainings[:2] if training
    ] == [0.1, 0.1]


def test_trials_are_known_and_are_none_of_the_sweeps_own(
    earlier: SweepSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sweeps.search.warm_start.data_manifest", lambda _: DATA)
    how = {"sweep": str(earlier.folder), "top": 4, "how": "trials"}
    spec = later(earlier, name="known", warm_start=how, trials=2)
    source = drive(spec, count())
    assert len(source.study.trials) == 6 and source.counts() == {"complete": 2}
    assert [training.number for training, _ in source.ended()] == [4, 5]
    assert sorted(training.number for training, _ in source.ranked()) == [4, 5]
    assert len(TrialSource(spec, "me").study.trials) == 6  # a restart adds none
    known = [t.values for t in source.study.trials[:4]]
    assert known == [[value] for _, value in TrialSource(earlier, "me").ranked()[:4]]
    steps = {**TWO, "objective.temperature": {**TWO["objective.temperature"], "step": 0.05}}
    stepped = later(earlier, name="stepped", warm_start=how, space=steps)
    assert TrialSource(stepped, "me").study.trials == []
    assert "is left out: objective.temperature not in this space" in caplog.text
    for changes, message in (
        ({"base": {"train": {"epochs": 9}}}, "train.epochs"),
        ({"objectives": [{"metric": "rankme"}]}, "other objectives"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            check_warm_start(later(earlier, name="other", warm_start=how, **changes))
        assert "use warm_start.how: points" in str(refused.value)
    monkeypatch.setattr(
        "sweeps.search.warm_start.data_manifest", lambda _: {"store": {"checksum": "b"}}
    )
    with pytest.raises(UserError, match="other data"):
        check_warm_start(later(earlier, name="other", warm_start=how))
    with pytest.raises(UserError, match=r"warm_start\.sweep: nobody: no such sweep"):
        check_warm_start(later(earlier, name="other", warm_start={"sweep": "nobody"}))


@pytest.mark.parametrize("name", ["gp", "nsgaii"])
def test_known_trials_say_what_they_break(
    name: str, earlier: SweepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Gaussian process fails without, and others take them for feasible."""
    monkeypatch.setattr("sweeps.search.warm_start.data_manifest", lambda _: DATA)
    ranked = reader(earlier).ranking()
    bound = (ranked[0].values[0] + ranked[1].values[0]) / 2
    lowest = min(one.drawn["optim.lr"] for one in ranked[:3])
    spec = later(
        earlier, name=f"bound_{name}", trials=3,
        warm_start={"sweep": "s", "top": 3, "how": "trials"},
        constraints=[f"loss <= {bound}", f"optim.lr > {lowest}"],
        sampler={"name": name, "startup_trials": 2},
    )  # fmt: skip
    source = drive(spec, count())
    known = [trial for trial in source.study.trials if PRIOR in trial.user_attrs]
    assert len(known) == 2  # the lowest cannot be drawn here
    assert all(trial.constraints.keys() == {f"loss <= {bound}"} for trial in known)
    feasible = [trial for trial in known if trial.constraints[f"loss <= {bound}"] <= 0]
    assert [trial.value for trial in feasible] == [
        one.values[0] for one in ranked[:1] if one.drawn["optim.lr"] > lowest
    ]
    assert source.counts()["complete"] == 3


def test_known_trials_are_none_that_a_pruner_lets_through(
    earlier: SweepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.search.warm_start.data_manifest", lambda _: DATA)
    spec = later(
        earlier, name="median", warm_start={"sweep": "s", "top": 4, "how": "trials"},
        trials=3, pruner={"name": "median", "startup_trials": 3}, sampler={"name": "random"},
    )  # fmt: skip
    assert drive(spec, count()).counts() == {"complete": 3}


def test_a_warm_start_that_cannot_be_is_told_before_ray_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    space = {"optim.lr": {"type": "float", "low": 0.1, "high": 1.0}}
    values = {"name": "new", "storage": str(tmp_path), "base": on_demo({}), "space": space}
    path.write_text(yaml.safe_dump(values | {"warm_start": {"sweep": "nobody"}}))
    program = f"from sweeps.commands.running import run; run([{str(path)!r}])"
    done = run_without(["ray", "mlflow", "torch"], program)
    assert "UserError: warm_start.sweep: nobody: no such sweep" in done.stderr


def test_hours_are_counted_over_restarts_and_by_no_clock_that_can_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"seconds": 100.0}
    spec = sweep(tmp_path, base={"train": {"epochs": 4, "cpus_per_worker": 2}}, max_cpu_hours=1)
    training = TrialSource(spec, "me").next()
    assert training is not None
    monkeypatch.setattr("time.monotonic", lambda: now["seconds"])
    monkeypatch.setattr("time.time", lambda: 0.0)  # set back, long ago
    budget = Budget(spec)
    budget.started(training, 1)
    now["seconds"] += 1500
    budget.reported(training, {})  # written down
    now["seconds"] += 5  # lost with the kill
    again = Budget(spec)
    assert again.used()["max_hours"] == pytest.approx(1500 / 3600)
    assert again.used()["max_cpu_hours"] == pytest.approx(2 * 1500 / 3600) and not again.spent()
    again.started(training, 2)
    now["seconds"] += 301
    again.ended(training, End("complete"))
    now["seconds"] += 1000
    assert again.used()["max_cpu_hours"] == pytest.approx(2 * 1801 / 3600)  # held no more
    assert again.spent()
    assert json.loads((spec.folder / "budget.json").read_text())["held_seconds"] == 1801
    assert Budget(spec, trained=4000.0).used()["max_cpu_hours"] == pytest.approx(2 * 4000 / 3600)


def test_no_trial_starts_once_the_budget_is_spent(tmp_path: Path) -> None:
    spec = sweep(tmp_path, pruner={"name": "none"}, max_cpu_hours=20 / 3600)
    source = drive(spec, count())  # a trial has 8 seconds in its folder; this session holds none
    assert len(source.trials()) == TRIALS
    more = TrialSource(spec.model_copy(update={"trials": TRIALS + 3}), "me")
    assert len(more) == 0 and more.next() is None
    raised = {"trials": TRIALS + 3, "max_cpu_hours": 1.0}
    assert len(TrialSource(spec.model_copy(update=raised), "me")) == 3
