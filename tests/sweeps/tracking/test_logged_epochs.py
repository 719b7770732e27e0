"""What MLflow gets of a long training: no step twice, no rung, validation or end left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import End, Training
from sweeps.tracking.logged_epochs import LoggedEpochs
from sweeps.tracking.tracker import Tracker
from tests.small import from_dict, parse_sweep
from tests.sweeps.stores import epochs, runs

LR = {"type": "float", "low": 0.01, "high": 1.0}


def sweep(folder: Path, total: int, validated: int, **changes: Any) -> SweepSettings:
    values = {
        "name": "long",
        "storage": str(folder / "runs"),
        "space": {"optim.lr": LR},
        "base": {"train": {"epochs": total, "evaluate_every": validated}},
        "pruner": {"name": "asha", "min_epochs": 7, "reduction": 3},
        "objectives": [{"metric": "loss", "direction": "minimize"}],
        **changes,
    }
    return parse_sweep(values, "long.yaml")


@pytest.mark.parametrize(
    ("total", "validated", "every"),
    [(30, 5, 1), (99, 5, 1), (100, 1, 2), (300, 1, 6), (300, 5, 5), (300, 4, 4), (300, 10, 10),
     (1000, 5, 20), (5000, 5, 100)],
)  # fmt: skip
def test_curves_keep_fifty_points_and_validations(
    total: int, validated: int, every: int, tmp_path: Path
) -> None:
    logged = LoggedEpochs.of_sweep(sweep(tmp_path, total, validated))
    assert logged.every == every
    found = logged.of(range(1, total + 1), ended=True)
    assert {1, 7, 21, total} <= found and len(found) >= min(total, 30)
    if total / validated < 100:
        assert set(range(validated, total + 1, validated)) <= found
    assert len(found) <= 110
    assert 23 in logged.of(range(1, 24), ended=True) and logged.of([], ended=True) == set()
    assert logged.of(range(1, 24), ended=False) == {e for e in found if e <= 23}


@pytest.mark.mlflow
def test_a_training_that_ends_goes_on_and_is_told_again(tmp_path: Path) -> None:
    spec = sweep(tmp_path, 120, 3)
    spec.folder.path.mkdir(parents=True)
    training = Training("long-0000", from_dict({"name": "t"}), spec.folder.trials / "long-0000")
    training.folder.mkdir(parents=True)

    def train(first: int, last: int, outcome: Any) -> list[int]:
        tracker = Tracker(spec, "i")
        tracker.started(training, 1)
        for epoch in range(first, last + 1):
            row = {"epoch": epoch, "loss": 1.0 / epoch}
            with (training.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            tracker.reported(training, row)
        tracker.ended(training, End(outcome))
        tracker.finish("interrupted")
        return epochs(spec.storage, runs(spec.storage, "trial")[training.name])

    assert train(1, 10, "interrupted") == [1, 3, 6, 7, 9, 10]
    wanted = [1, 3, 6, 7, 9, 10, *range(12, 64, 3), 64]
    assert train(11, 64, "pruned") == sorted({*wanted, 21, 63})
