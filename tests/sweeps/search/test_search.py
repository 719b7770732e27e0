"""Samplers and pruners on a study, driven without Ray; restarts change nothing."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from sweeps.running.dispatcher import Dispatcher
from sweeps.running.failure_limit import FailureLimit
from sweeps.running.stopping import Stop
from sweeps.search.rank_correlation import rank_correlation
from sweeps.search.samplers import sampler
from sweeps.search.study import reader, repeats_of
from sweeps.search.trial_source import TrialSource
from sweeps.spec.sweep import SamplerSettings, SweepSettings
from sweeps.spec.training import End, Outcome, Training
from tests.small import parse_sweep

LR = {"type": "float", "low": 0.001, "high": 1.0, "log": True}
TAU = {"type": "float", "low": 0.05, "high": 0.5}
SHAPE = {"type": "categorical", "choices": ["constant", "linear", "cosine"]}
TWO = {"optim.lr": LR, "objective.temperature": TAU}
BOTH = [{"metric": "loss", "direction": "minimize"}, {"metric": "rankme"}]
HALF = {"min_epochs": 1, "reduction": 2}
EPOCHS, TRIALS = 4, 6


DECIDED = "decided"


class Killed(Exception):
    pass


def sweep(folder: Path, **changes: Any) -> SweepSettings:
    values = {
        "name": "s",
        "storage": str(folder),
        "base": {"train": {"epochs": EPOCHS}},
        "space": TWO,
        "objectives": BOTH[:1],
        "sampler": {"startup_trials": 2},
        "trials": TRIALS,
    }
    return parse_sweep(values | changes, "s.yaml")


def figures(training: Training, epoch: int) -> dict[str, Any]:
    """What a training would report: it falls, sooner or later, to what the settings are worth."""
    settings = training.experiment
    worth = abs(math.log(settings.optim.lr / 0.03)) + settings.objective.temperature
    worth += 0.1 * settings.seed
    loss = worth + 2 / (epoch + settings.objective.temperature)
    return {"epoch": epoch, "loss": loss, "rankme": 10 * worth % 7, "seconds": 2.0}


def misleading(training: Training, epoch: int) -> dict[str, Any]:
    """The same, but what ends well looks the worse until the last epoch."""
    row = figures(training, EPOCHS)
    return row | {"epoch": epoch, "loss": row["loss"] if epoch == EPOCHS else -row["loss"]}


def drive(
    spec: SweepSettings,
    clock: Iterator[int],
    last: int | str | None = None,
    figures: Callable[[Training, int], dict[str, Any]] = figures,
) -> TrialSource:
    """Train one after another; ``last`` is the tick at which everything is killed.

    With DECIDED that is between the decision to stop a trial and its end.
    """

    def tick() -> None:
        if next(clock) == last:
            raise Killed

    source = TrialSource(spec, "me")
    while (training := source.next()) is not None:
        tick()
        row: dict[str, Any] = {}
        pruned = False
        for epoch in range(len(training.rows()) + 1, EPOCHS + 1):
            row = figures(training, epoch)
            training.folder.mkdir(parents=True, exist_ok=True)
            with (training.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            tick()  # trained, and nobody has heard of it
            pruned = source.report(training, row)
            tick()
            if pruned and last == DECIDED:
                raise Killed
            if pruned:
                break
        source.end(training, "complete", row)
        tick()
    return source


def told(trials: list[FrozenTrial]) -> list[Any]:
    return [(t.number, t.params, t.state, t.values, t.intermediate_values) for t in trials]


CASES: list[dict[str, Any]] = [
    {"sampler": {"name": "tpe", "startup_trials": 2}, "pruner": {"name": "hyperband", **HALF}},
    {"sampler": {"name": "gp", "startup_trials": 2}, "pruner": {"name": "none"}},
    {"sampler": {"name": "cmaes", "startup_trials": 2}, "pruner": {"name": "asha", **HALF}},
    {"sampler": {"name": "sobol"}, "pruner": {"name": "median", "startup_trials": 1}},
    {
        "sampler": {"name": "halton"},
        "pruner": {"name": "asha", **HALF, "startup_trials": 2, "min_rank_correlation": 0.5},
    },
    {
        "sampler": {"name": "nsgaii", "population": 3},
        "objectives": BOTH,
        "pruner": {"name": "none"},
        "space": {**TWO, "objective.schedule.shape": SHAPE},
    },
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["sampler"]["name"])
def test_a_sweep_goes_on_after_kills_as_if_there_were_none(
    case: dict[str, Any], tmp_path: Path
) -> None:
    straight = drive(sweep(tmp_path / "straight", **case), count())
    spec, clock, kills = sweep(tmp_path / "killed", **case), count(), 0
    pruning = case["pruner"]["name"] != "none"
    for kill in (4, 11, DECIDED if pruning else 19):
        try:
            drive(spec, clock, kill)
        except Killed:
            kills += 1
    again = drive(spec, clock)
    assert kills == 3
    assert told(again.study.trials) == told(straight.study.trials)
    assert len(again) == 0 and sum(again.counts().values()) == TRIALS
    assert (again.counts()["pruned"] > 0) == pruning
    assert len({str(trial.drawn) for trial in again.trials()}) == TRIALS


def test_the_best_trials_get_further_seeds_and_stand_by_their_mean(tmp_path: Path) -> None:
    """``repeats``; killed anywhere, the same trials, and no seed is trained twice."""
    case = {
        "repeats": 3, "final": {"seeds": [0, 1, 2]}, "pruner": {"name": "none", "reduction": 2},
        "sampler": {"name": "tpe", "startup_trials": 2}, "trials": 8,
    }  # fmt: skip
    straight = drive(sweep(tmp_path / "straight", **case), clock := count())
    complete = straight.trials("complete")
    values = {trial.number: list(trial.by_seed.values()) for trial in complete}
    surest, *others = straight.ranking()
    most = [trial for trial in complete if len(trial.by_seed) == 3]
    assert len(most) > 1 and surest.values == min(trial.values for trial in most)
    by_mean = sorted((trial.values, trial.number) for trial in complete if trial is not surest)
    assert [trial.number for trial in others] == [
        number for _, number in by_mean if number != surest.number
    ]
    assert {1, 3} <= set(map(len, values.values()))
    means: list[list[float]] = [[], []]
    for trial in complete:
        own = values[trial.number]
        assert trial.values == [pytest.approx(statistics.mean(own))]
        assert own == [pytest.approx(own[0] + 0.1 * seed) for seed in range(len(own))]
        for seeds, others in enumerate(means, 1):
            if len(own) >= seeds:
                others.append(statistics.mean(own[:seeds]))
                better = sum(other < others[-1] for other in others)
                assert (better < max(len(others) // 2, 1)) == (len(own) > seeds)
    finals = sorted(path.name for path in straight.spec.folder.finals.iterdir())
    assert finals == sorted(
        f"s-final-{number:04d}-s{seed}"
        for number, own in values.items()
        for seed in range(1, len(own))
    )
    ticks = next(clock)
    for kill in range(11, ticks, ticks // 5):
        spec = sweep(tmp_path / f"killed{kill}", **case)
        with pytest.raises(Killed):
            drive(spec, count(), kill)
        again = drive(spec, count())
        assert told(again.study.trials) == told(straight.study.trials)
        assert len(again) == 0
        for run in spec.folder.finals.iterdir():
            assert len((run / "metrics.jsonl").read_text().splitlines()) == EPOCHS


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_further_seed_that_fails_leaves_the_first_ones_figure_and_no_winner(
    sampler: str, tmp_path: Path
) -> None:
    spec = sweep(
        tmp_path, repeats=2, final={"seeds": [0, 1]}, trials=4, pruner={"name": "none"},
        sampler={"name": sampler, "startup_trials": 2},
    )  # fmt: skip
    source, failed, limit = TrialSource(spec, "me"), [], Stop()
    limited = FailureLimit(limit, 0, "trials failed")
    while (training := source.next()) is not None:
        ends: Outcome = "failed" if training.kind == "repeat" and not failed else "complete"
        if ends == "failed":
            failed.append(training.number)
        row = figures(training, EPOCHS)
        limited.ended(training, End(source.end(training, ends, row)))
    assert not limit, "its trial is complete"
    for study in (source, reader(spec)):
        (found,) = [trial for trial in study.trials() if trial.failed_seeds]
        assert (found.number, found.state, found.failed_seeds) == (failed[0], "complete", [1])
        assert found.by_seed == {"0": found.values[0]}
        assert len(study.trials("complete")) == 4
        assert [trial.number for trial in study.ranking()].count(found.number) == 0
        assert [again.kind for again in repeats_of(spec, found)] == ["repeat"]
    assert source.study.trials[failed[0]].constraints == (
        {"failed_seeds": 1.0} if sampler == "tpe" else {}
    )


def test_a_seed_that_began_goes_on_after_a_restart_though_others_are_better(tmp_path: Path) -> None:
    spec = sweep(
        tmp_path, repeats=2, final={"seeds": [0, 1]}, pruner={"name": "none", "reduction": 2},
        trials=2,
    )  # fmt: skip

    def train(source: TrialSource, training: Training, *, wholly: bool = True) -> None:
        training.folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {"epoch": epoch, "loss": 2.0 - training.number, "seconds": 1.0}
            for epoch in range(1, EPOCHS + 1 if wholly else 2)
        ]
        (training.folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        if wholly:
            source.end(training, "complete", rows[-1])

    def following(source: TrialSource) -> Training:
        training = source.next()
        assert training is not None
        return training

    source = TrialSource(spec, "me")
    worse, better = following(source), following(source)
    train(source, worse)
    begun = following(source)
    train(source, begun, wholly=False)
    train(source, better)
    train(source, following(source))
    again = TrialSource(spec.model_copy(update={"max_cpu_hours": 1.0}), "me")  # after a kill
    assert 3600 * again.budget.used()["max_cpu_hours"] >= 2 * EPOCHS + EPOCHS + 1  # repeats, too
    train(again, following(again))
    assert following(again) == begun
    train(again, begun)
    assert [len(trial.by_seed) for trial in again.trials("complete")] == [2, 2]
    assert again.next() is None and not len(again)


def test_no_further_seed_begins_once_a_budget_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = sweep(tmp_path, repeats=2, final={"seeds": [0, 1]}, max_hours=1.0, trials=1)
    source = TrialSource(spec, "me")
    training = source.next()
    assert training is not None
    monkeypatch.setattr(source.budget, "spent", lambda: True)
    source.end(training, "complete", figures(training, EPOCHS))
    assert source.next() is None
    assert len(source.trials("complete")[0].by_seed) == 1


def test_trials_are_stopped_only_where_early_figures_have_ranked_others_right(
    tmp_path: Path,
) -> None:
    """``pruner.min_rank_correlation``."""
    half = {"name": "asha", **HALF}
    careful = half | {"startup_trials": 3, "min_rank_correlation": 0.5}

    def stopped(name: str, pruner: dict[str, Any], reported: Any) -> list[int]:
        case = {"sampler": {"name": "random"}, "pruner": pruner, "trials": 12}
        source = drive(sweep(tmp_path / name, **case), count(), figures=reported)
        return [trial.number for trial in source.trials("pruned")]

    assert min(stopped("blind", half, figures)) < 3
    assert stopped("blind and misled", half, misleading)
    assert min(stopped("careful", careful, figures)) >= 3
    assert stopped("careful and misled", careful, misleading) == []


def test_a_trial_that_never_reports_its_objective_fails_with_that_reason(tmp_path: Path) -> None:
    ends: list[End] = []

    class Listener:
        def started(self, training: Training, attempt: int) -> None: ...
        def reported(self, training: Training, row: dict[str, Any]) -> None: ...
        def ended(self, training: Training, end: End) -> None:
            ends.append(end)

    session = Dispatcher(TrialSource(sweep(tmp_path), "me"), [Listener()], Stop())
    for tune_id, figure in (("a", {}), ("b", {"loss": math.nan}), ("c", {"loss": 1.0})):
        assert session.take(tune_id)
        session.result(tune_id, {"epoch": EPOCHS, "outcome": "complete", **figure})
        session.ended(tune_id)
    reason = "never reported loss, which it is judged by, as a finite number"
    told = [(end.outcome, end.error) for end in ends]
    assert told == [("failed", reason), ("failed", reason), ("complete", "")]


def test_the_rank_correlation_of_an_epoch() -> None:
    ended = [({1: 0.1, 2: 0.3}, 1.0), ({1: 0.2, 2: 0.2}, 2.0), ({1: 0.3, 2: 0.1}, 4.0), ({}, 3.0)]
    assert rank_correlation(ended, 1) == (1.0, 3)
    assert rank_correlation(ended, 2) == (-1.0, 3)
    correlation, trials = rank_correlation(ended, 3)
    assert math.isnan(correlation) and trials == 0
    assert math.isnan(rank_correlation([({1: 0.5}, 1.0), ({1: 0.5}, 2.0)], 1)[0])


def test_tpe_is_not_driven_off_by_pruned_trials() -> None:
    """They are stopped wherever they lie; Optuna's own TPE takes them for worse than any other."""
    study = optuna.create_study()
    where = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for number in range(120):
        x = number / 20 if number < 20 else 0.8 + 0.002 * (number - 20)
        state = TrialState.COMPLETE if number < 20 else TrialState.PRUNED
        value = abs(x - 0.9)
        study.add_trial(
            optuna.trial.create_trial(
                params={"x": x},
                distributions=where,
                value=value if state == TrialState.COMPLETE else None,
                intermediate_values={1: value},
                state=state,
            )
        )

    def drawn(prunes: bool) -> list[float]:
        found = []
        for number in range(121, 181, 3):  # none of the third that is drawn at random
            study.sampler = sampler(SamplerSettings(name="tpe"), number, prunes=prunes)
            trial = study.ask()
            found.append(abs(trial.suggest_float("x", 0, 1) - 0.9))
            study.tell(trial, state=TrialState.FAIL)
        return found

    near, far = (statistics.mean(drawn(prunes)) for prunes in (True, False))
    assert near < 0.6 * far
