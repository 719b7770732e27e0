"""Sweeps that were never trained: a study and run folders with figures from a formula.

For what is drawn of a sweep, and how long that takes: a thousand trials in a second.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from sweeps.search.study import StudyReader, training_of
from sweeps.search.trial_record import TrialRecord
from sweeps.search.warm_start import distribution
from sweeps.spec.objective import objective_values
from sweeps.spec.space import RandomDraws, draw
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Outcome, Training
from tests.small import parse_sweep

NUMERIC = {
    "objective.temperature": {"type": "float", "low": 0.03, "high": 0.5, "log": True},
    "objective.schedule.end": {"type": "float", "low": 0.0, "high": 1.0},
    "optim.lr": {"type": "float", "low": 0.001, "high": 0.3, "log": True},
}
CATEGORICAL = {
    "objective.schedule.shape": {
        "type": "categorical",
        "choices": ["constant", "linear", "cosine", "step"],
    },
    "data.stream": {"type": "categorical", "choices": ["joint", "bone", "motion"]},
}
CONDITIONAL = {
    "optim.name": {"type": "categorical", "choices": ["sgd", "adamw"]},
    "optim.momentum": {
        "type": "float",
        "low": 0.5,
        "high": 0.99,
        "when": {"optim.name": ["sgd"]},
    },
}


def sweep(folder: Path, space: dict[str, Any], trials: int, **changes: Any) -> SweepSettings:
    """A sweep over ``space``, under ``folder``."""
    values = {
        "name": "synthetic",
        "storage": str(folder / "runs"),
        "space": space,
        "trials": trials,
        "base": {"train": {"epochs": 27, "evaluate_every": 1}},
        "pruner": {"name": "asha", "min_epochs": 3, "reduction": 3},
        "final": {"candidates": 3, "seeds": [0, 1, 2]},
        **changes,
    }
    return parse_sweep(values, "synthetic.yaml")


def fill(spec: SweepSettings, count: int, *, failing: float = 0.04) -> optuna.Study:
    """Run the first ``count`` trials by the formula, under the sweep's pruner.

    Args:
        spec: the sweep.
        count: trials.
        failing: share of trials that fail half-way.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [objective.direction for objective in spec.objectives]
    study = optuna.create_study(study_name=spec.name, directions=directions)
    random, peers = np.random.default_rng(0), dict[int, list[float]]()
    for number in range(count):
        values = draw(spec.space, RandomDraws(number))
        training = training_of(spec, number, values)
        outcome: Outcome = "complete"
        rows: list[dict[str, Any]] = []
        fails = random.random() < failing
        for epoch in range(1, training.experiment.train.epochs + 1):
            rows.append(_row(training, epoch, random))
            if fails and epoch == 9:
                outcome = "failed"
                break
            if len(spec.objectives) == 1 and _stopped(spec, rows[-1], peers):
                outcome = "pruned"
                break
        _write(training, rows)
        _tell(study, spec, values, outcome, rows)
    return study


def reader(spec: SweepSettings, study: optuna.Study) -> StudyReader:
    """The study of :func:`fill`, as a sweep's own one is read."""
    return StudyReader(spec, lambda: list(map(TrialRecord.of, study.get_trials())))


def fill_finals(spec: SweepSettings, trainings: list[Training]) -> None:
    """Run trainings after the search by the same formula."""
    random = np.random.default_rng(1)
    for training in trainings:
        epochs = range(1, training.experiment.train.epochs + 1)
        _write(training, [_row(training, epoch, random) for epoch in epochs])
        (training.folder / "done.json").write_text("{}")


def level(training: Training) -> float:
    """What a trial is worth in the end, without noise: best near τ 0.12, end 0.7 and lr 0.03."""
    objective, optim = training.experiment.objective, training.experiment.optim
    off = (math.log(objective.temperature / 0.12) / 1.2) ** 2
    off += 0.6 * (objective.schedule.end - 0.7) ** 2 + 0.1 * math.log10(optim.lr / 0.03) ** 2
    off += {"joint": 0.0, "bone": 0.05, "motion": 0.2}[training.experiment.data.stream]
    return 0.88 * math.exp(-0.35 * off)


def _row(training: Training, epoch: int, random: np.random.Generator) -> dict[str, Any]:
    settings = training.experiment
    reached = level(training) * (1 - math.exp(-5 * epoch / settings.train.epochs))
    reached += 0.012 * random.normal()
    return {
        "epoch": epoch,
        "loss": 4.5 - 3 * reached + 0.02 * random.normal(),
        "seconds": 1.4 + 0.2 * random.random(),
        "knn_val": min(max(reached, 0.02), 1.0),
        "linear_val": min(max(reached + 0.03, 0.02), 1.0),
        "rankme": 40 + 60 * reached + 8 * random.normal() + 20 * settings.objective.schedule.end,
        "alignment": 1.2 - reached + 0.05 * random.normal(),
        "uniformity": -2 * reached + 0.3 * random.normal(),
    }


def _stopped(spec: SweepSettings, row: dict[str, Any], peers: dict[int, list[float]]) -> bool:
    """ASHA: at a rung, only the best one in so many of those that came so far goes on."""
    if spec.pruner.name != "asha":
        return False
    rung = math.log(row["epoch"] / spec.pruner.min_epochs, spec.pruner.reduction)
    if rung < 0 or abs(rung - round(rung)) > 1e-9 or row["epoch"] >= 27:
        return False
    objective = spec.objectives[0]
    value = objective.sign * row[objective.metric]
    here = peers.setdefault(row["epoch"], [])
    here.append(value)
    return value < sorted(here, reverse=True)[max(len(here) // spec.pruner.reduction, 1) - 1]


def _write(training: Training, rows: list[dict[str, Any]]) -> None:
    training.folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (training.folder / "metrics.jsonl").write_text(text)


def _tell(
    study: optuna.Study,
    spec: SweepSettings,
    values: dict[str, Any],
    outcome: Outcome,
    rows: list[dict[str, Any]],
) -> None:
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    found = objective_values(spec.objectives, rows)
    metric = spec.objectives[0].metric
    single = len(spec.objectives) == 1
    study.add_trial(
        create_trial(
            state=states.get(outcome, TrialState.FAIL),
            values=found if outcome == "complete" else None,
            params=values,
            distributions={name: distribution(spec.space, name) for name in values},
            intermediate_values={row["epoch"]: row[metric] for row in rows} if single else {},
        )
    )
