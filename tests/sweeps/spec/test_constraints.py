"""Constraints: a small grammar, draws that are ruled out, trials that are never chosen."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from c2vl.support.errors import UserError
from sweeps.search.trial_record import IMPOSSIBLE
from sweeps.search.trial_source import TrialSource
from sweeps.spec.constraints import impossible, parse_constraint, violations
from tests.small import from_dict, parse_sweep
from tests.sweeps.search.test_search import TAU, TRIALS, TWO, drive, sweep

FIGURES = ("seconds", "rankme")


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("optim.lr <= 0.3", -0.2),
        ("optim.lr >= 0.3", 0.2),
        ("2 * (optim.lr + 1) - 0.2 <= 4 / 2", 0.0),
        ("-optim.lr > -0.1", 1e-12),
    ],
)
def test_by_how_much_a_rule_is_broken(text: str, broken: float) -> None:
    rule = parse_constraint(text, FIGURES)
    assert rule.violation({"optim.lr": 0.1}) == pytest.approx(broken, abs=1e-15)
    assert not rule.figures


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true') <= 1", "not a number"),
        ("optim.lr", "one comparison"),
        ("0 < optim.lr < 1", "one comparison"),
        ("optim.lr == 1", "must be one of"),
        ("optim.lr <=", "no comparison"),
        ("optim.lrr <= 1", r'did you mean "optim.lr"'),
        ("optim.lr ** 2 <= 1", "not a number"),
        ("[optim.lr][0] <= 1", "not a number"),
        ("True <= optim.lr", "not a number"),
        ("1 <= 2", "neither a setting nor a figure"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_constraint(text, FIGURES)


def test_figures_are_of_the_whole_trial() -> None:
    rules = [parse_constraint(t, FIGURES) for t in ("seconds <= 5", "rankme >= 4 * optim.lr")]
    experiment = from_dict({"optim": {"lr": 1.0}})
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "seconds": 4.0, "rankme": 9.0},
        {"epoch": 2, "seconds": 3.0, "rankme": 3.0},
        {"epoch": 3, "seconds": 3.0, "rankme": float("nan")},
        {"epoch": 2, "seconds": 3.0, "rankme": 3.0},
    ]
    assert violations(rules, experiment, rows) == {"seconds <= 5": 5.0, rules[1].text: 1.0}
    assert violations(rules, experiment, [])[rules[1].text] == 1.0  # never reported: broken
    assert impossible(rules, experiment) == ""
    words = parse_constraint("objective.targets <= 1", FIGURES)
    assert "cannot be decided" in impossible([words], experiment)


def test_impossible_draws_cost_no_trial_and_infeasible_trials_are_not_chosen(
    tmp_path: Path,
) -> None:
    space = {**TWO, "objective.temperature_intra": TAU}
    rules = ["objective.temperature >= objective.temperature_intra", "rankme <= 4"]
    sampler = {"name": "random", "seed": 1}
    spec = sweep(tmp_path, space=space, constraints=rules, sampler=sampler, pruner={"name": "none"})
    source = drive(spec, count())
    dropped = [t for t in source.study.trials if t.user_attrs.get(IMPOSSIBLE)]
    assert dropped and {t.state for t in dropped} == {TrialState.FAIL}
    assert all(
        t.params["objective.temperature"] < t.params["objective.temperature_intra"] for t in dropped
    )
    trials = source.trials()
    assert source.counts() == {"complete": TRIALS} and len(trials) == TRIALS == len(source.ended())
    bad = [t for t in trials if not t.feasible]
    assert 0 < len(bad) < TRIALS
    assert all(
        t.constraints == {"rankme <= 4": pytest.approx(t.constraints[rules[1]])} for t in bad
    )
    assert [training.number for training, _ in source.ranked()] == [
        t.number for t in sorted((t for t in trials if t.feasible), key=lambda t: t.values[0])
    ]
    assert len(TrialSource(spec, "me")) == 0  # and none are counted again after a restart


def test_a_sampler_that_insists_on_an_impossible_point_gets_a_random_one(tmp_path: Path) -> None:
    """The best of this space is just what is forbidden; a Gaussian process sees no failed draw."""
    sampler = {"name": "gp", "startup_trials": 2}
    rules = ["objective.temperature >= 0.3"]
    spec = sweep(tmp_path, constraints=rules, sampler=sampler, pruner={"name": "none"})
    source = drive(spec, count())
    assert source.counts() == {"complete": TRIALS}
    assert all(t.drawn["objective.temperature"] >= 0.3 for t in source.trials())
    assert sum(IMPOSSIBLE in t.user_attrs for t in source.study.trials) < 100


def test_a_grid_has_the_points_that_are_allowed(tmp_path: Path) -> None:
    steps = {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1}
    space = {"objective.temperature": steps, "objective.temperature_intra": steps}
    rules = ["objective.temperature > objective.temperature_intra"]
    assert sweep_trials(tmp_path, space=space, constraints=rules) == 3
    with pytest.raises(UserError, match="does not hold in any of 100 draws"):
        sweep(tmp_path, constraints=["objective.temperature > 0.5"])


def sweep_trials(folder: Path, **changes: Any) -> int:
    values = {"name": "g", "storage": str(folder), "sampler": {"name": "grid"}}
    return parse_sweep({**values, **changes}, "g.yaml").trials


def test_what_a_sampler_cannot_do_names_one_that_can(tmp_path: Path) -> None:
    shape = {"type": "categorical", "choices": ["constant", "linear"]}
    with_shape = {**TWO, "objective.schedule.shape": shape}
    condition = {**with_shape, "optim.lr": {**TWO["optim.lr"], "when": {
        "objective.schedule.shape": ["linear"]}}}  # fmt: skip
    objectives = [{"metric": "loss", "direction": "minimize"}, {"metric": "rankme"}]
    none = {"name": "none"}
    for name, changes, message in (
        ("cmaes", {"space": with_shape}, "use sampler.name: tpe"),
        ("gp", {"space": condition, "pruner": none}, "use sampler.name: tpe"),
        ("sobol", {"space": condition}, "use sampler.name: tpe"),
        ("cmaes", {"objectives": objectives, "pruner": none}, "use tpe, gp or nsgaii"),
        ("cmaes", {"constraints": ["seconds <= 3"]}, "use tpe, gp or nsgaii"),
        ("gp", {}, "set it to none"),
        ("tpe", {"objectives": objectives}, "set it to none"),
        ("tpe", {"pruner": {"name": "hyperband", "min_epochs": 3}}, "use asha"),
        ("tpe", {"max_gpu_hours": 1}, "use max_cpu_hours"),
    ):
        with pytest.raises(UserError, match=message):
            sweep(tmp_path, **{"sampler": {"name": name}, **changes})
