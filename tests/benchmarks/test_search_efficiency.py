"""Epochs that a search needs to come near the best of 216 recorded trainings: TPE + ASHA, random.

The real study source proposes, judges and prunes; the epochs come from the table instead of a
training. One trial at a time.
"""

from __future__ import annotations

import json
import math
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


def epochs_needed(table: Table, way: dict[str, Any], seed: int, folder: Path) -> float:
    """Epochs trained until a finished trial is near the best; infinite if no trial ever is."""
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
    return math.inf


@pytest.mark.slow
def test_epochs_until_near_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    if len(table) < WHOLE:
        pytest.skip(f"the table holds {len(table)} of {WHOLE} points so far; see recorded/")
    monkeypatch.setattr("sweeps.source.open_storage", lambda *_: Memory())
    needed = {
        name: [
            epochs_needed(table, way, seed, tmp_path / str(place)) for seed in range(REPETITIONS)
        ]
        for place, (name, way) in enumerate(WAYS.items())
    }
    print(f"\nwithin {100 * NEAR:g} points of {100 * table.best():.1f} %: epochs, of {len(table)} "
          f"points × {table.epochs}")  # fmt: skip
    for name, found in needed.items():
        low, high = (sorted(found)[len(found) * quarter // 4] for quarter in (1, 3))
        middle = statistics.median(found)
        print(f"{name:>14}: median {middle:.0f} (quartiles {low:.0f} and {high:.0f})")
    print(json.dumps(needed))
    ours, random = (statistics.median(needed[name]) for name in ("TPE + ASHA", "random"))
    assert math.isfinite(ours) and ours <= random / 4
