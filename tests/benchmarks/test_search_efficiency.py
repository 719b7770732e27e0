"""Epochs that a search needs to come near the best of 216 recorded trainings: TPE + ASHA, random.

The real study source proposes, judges and prunes; the epochs come from the table instead of a
training. One trial at a time.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from sweeps.source import StudySource
from sweeps.spec import parse_sweep
from tests.benchmarks.recorded import Table

REPETITIONS, NEAR, WHOLE = 50, 0.005, 216
SPACE = {
    "objective.temperature": {"type": "float", "low": 0.03, "high": 1.0, "log": True},
    "objective.schedule.shape": {
        "type": "categorical",
        "choices": ["constant", "linear", "cosine"],
    },
    "objective.schedule.end": {"type": "float", "low": 0.25, "high": 1.0},
    "objective.beta": {"type": "float", "low": 0.0, "high": 1.0},
}
WAYS: dict[str, dict[str, Any]] = {
    "random": {"sampler": {"name": "random"}, "pruner": {"name": "none"}},
    "TPE": {"sampler": {"name": "tpe"}, "pruner": {"name": "none"}},
    "random + ASHA": {"sampler": {"name": "random"}, "pruner": {"min_epochs": 3}},
    "TPE + ASHA": {"sampler": {"name": "tpe"}, "pruner": {"min_epochs": 3}},
}


class Memory(InMemoryStorage):
    """A study that needs no disk: what is compared is how it searches, not how it stores."""

    interruptions = 0

    def give_up(self) -> None: ...


def epochs_needed(table: Table, way: dict[str, Any], seed: int, folder: Path) -> int:
    """Epochs trained until a finished trial is within ``NEAR`` of the table's best."""
    values = {
        "name": f"s{seed}",
        "storage": str(folder),
        "base": {
            "objective": {"targets": "both"},
            "train": {"epochs": table.epochs, "evaluate_every": 3},
        },
        "space": SPACE,
        "objectives": [{"metric": "linear_val"}],
        "trials": 1000,
        **way,
        "sampler": {**way["sampler"], "seed": seed},
    }
    source = StudySource(parse_sweep(values, "s.yaml"), "benchmark")
    goal, spent = table.best() - NEAR, 0
    while (job := source.next()) is not None:
        for row in table.rows(job.values):
            spent += 3
            if source.report(job, row):
                source.end(job, "pruned", row)
                break
        else:
            source.end(job, "complete", row)
            if row["linear_val"] >= goal:
                return spent
    raise AssertionError("a thousand trials did not find it")


@pytest.mark.slow
def test_epochs_until_near_the_best(tmp_path: Path) -> None:
    table = Table()
    if len(table) < WHOLE:
        pytest.skip(f"the table holds {len(table)} of {WHOLE} points so far; see recorded/")
    needed = {
        name: [
            epochs_needed(table, way, seed, tmp_path / str(place)) for seed in range(REPETITIONS)
        ]
        for place, (name, way) in enumerate(WAYS.items())
    }
    print(f"\nwithin {100 * NEAR:g} points of {100 * table.best():.1f} %: epochs, of {len(table)} "
          f"points × {table.epochs}")  # fmt: skip
    for name, found in needed.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"{name:>14}: median {middle:.0f} (quartiles {low:.0f} and {high:.0f})")
    print(json.dumps(needed))
    assert statistics.median(needed["TPE + ASHA"]) <= statistics.median(needed["random"]) / 4
