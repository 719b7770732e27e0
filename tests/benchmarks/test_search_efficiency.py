"""What searches find on 216 recorded points, each trained with two seeds.

How many epochs a search trains until it comes near the best point, by sampler and pruner: the real
study source proposes, judges and prunes, one trial at a time, and the epochs come from the table
instead of a training. Early epochs rank these trainings badly; and a point's figure with one seed
says little of its figure with the other one, which bounds what any search can find. So a search
that sees one seed, or gives its best trials the other one too, is judged by what it would choose.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna.storages import InMemoryStorage

from sweeps.choosing.reliability import reliability
from sweeps.search.rank_correlation import rank_correlation, spearman
from sweeps.search.trial_source import TrialSource
from tests.benchmarks.recorded import Table
from tests.small import parse_sweep

REPETITIONS, TRIALS, NEAR, WHOLE = 50, 400, (0.005, 0.02), 216
TRIED = 60
Array = NDArray[np.float64]
SPACE = {
    "objective.temperature": {"type": "float", "low": 0.03, "high": 1.0, "log": True},
    "objective.schedule.shape": {
        "type": "categorical",
        "choices": ["constant", "linear", "cosine"],
    },
    "objective.schedule.end": {"type": "float", "low": 0.25, "high": 1.0},
    "objective.beta": {"type": "float", "low": 0.0, "high": 1.0},
}
NONE, BLIND = {"name": "none"}, {"min_epochs": 3, "reduction": 3}
CAREFUL = {"min_epochs": 3, "reduction": 2, "startup_trials": 10, "min_rank_correlation": 0.5}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", NONE),
    "random + ASHA": ("random", BLIND),
    "random + careful ASHA": ("random", CAREFUL),
    "TPE": ("tpe", NONE),
    "TPE + ASHA": ("tpe", BLIND),
    "TPE + careful ASHA": ("tpe", CAREFUL),
}


class Memory(InMemoryStorage):
    """A study that needs no disk: what is compared is how it searches, not how it stores."""

    interruptions = 0

    def give_up(self) -> None: ...


def epochs_needed(
    table: Table, sampler: str, pruner: dict[str, Any], seed: int, folder: Path
) -> list[float]:
    """Epochs until a finished trial is as near the best as NEAR says; infinite if none ever is."""
    values = {
        "name": f"s{seed}",
        "storage": str(folder),
        "base": {
            "objective": {"targets": "both"},
            "train": {"epochs": table.epochs, "evaluate_every": 3},
        },
        "space": SPACE,
        "objectives": [{"metric": "linear_val"}],
        "trials": TRIALS,
        "sampler": {"name": sampler, "seed": seed},
        "pruner": pruner,
    }
    source = TrialSource(parse_sweep(values, "s.yaml"), "benchmark")
    found, spent = [math.inf] * len(NEAR), 0
    while (training := source.next()) is not None:
        for row in table[table.point(training.values)]:
            spent += 3
            if source.report(training, row):
                source.end(training, "pruned", row)
                break
        else:
            source.end(training, "complete", row)
            far = table.best() - row["linear_val"]
            found = [
                min(at, spent) if far <= near else at for near, at in zip(NEAR, found, strict=True)
            ]
            if math.inf not in found:
                break
    return found


def ranks(table: Table, end: Table) -> dict[int, float]:
    """Spearman's correlation of each evaluated epoch's figure with the last one's of ``end``."""
    curves = {at: {int(row["epoch"]): row["linear_val"] for row in table[at]} for at in table}
    ended = [(curve, end[at][-1]["linear_val"]) for at, curve in curves.items()]
    return {epoch: rank_correlation(ended, epoch)[0] for epoch in range(3, table.epochs + 1, 3)}


def last(table: Table) -> dict[tuple[Any, ...], float]:
    """The last figure of each point."""
    return {point: table[point][-1]["linear_val"] for point in table}


def test_what_a_winner_by_one_seed_is_worth() -> None:
    """It promises too much: why ``final.seeds`` trains the best trials anew."""
    first, second = (Table(seed=seed) for seed in Table().seeds)
    said, true = [], []
    for searched, unseen in ((last(first), last(second)), (last(second), last(first))):
        for repetition in range(1000):
            tried = Random(repetition).sample(sorted(searched), TRIED)
            winner = max(tried, key=searched.__getitem__)
            said.append(100 * searched[winner])
            true.append(100 * unseen[winner])
    average = 100 * statistics.mean([*last(first).values(), *last(second).values()])
    print(f"\nbest of {TRIED} by one seed: {statistics.mean(said):.1f} %; with the other seed "
          f"{statistics.mean(true):.1f}; a point drawn at random {average:.1f}")  # fmt: skip
    own, other = ranks(first, first), ranks(first, second)
    for epoch in own:
        print(f"rank correlation of epoch {epoch:>2} with the end: {own[epoch]:.2f}; with the end "
              f"of the other seed: {other[epoch]:.2f}")  # fmt: skip
    assert average < statistics.mean(true) < statistics.mean(said)


def test_which_estimate_of_a_setting_ranks_another_seed() -> None:
    """Mean of the last five evaluations, at four fifths of the epochs, beats the last figure."""
    tables = [Table(seed=seed) for seed in Table().seeds]
    linear, knn = (
        np.array([[[row[f] for row in table[at]] for at in table] for table in tables])
        for f in ("linear_val", "knn_val")
    )  # (seeds, points, evaluations)

    def smooth(values: Array, decay: float) -> Array:
        found = values[..., 0]
        for at in range(1, values.shape[-1]):
            found = decay * found + (1 - decay) * values[..., at]
        return found

    beta = np.array([point[tables[0].settings.index("objective.beta")] for point in tables[0]])
    for which, some in (("all", beta >= 0), ("β ≤ 0.5", beta <= 0.5)):
        told = reliability(linear[:, some, -1].T.tolist())
        assert told is not None and told.icc is not None
        two, one = (100 * told.difference(seeds) for seeds in (2, 1))
        print(f"\n{which}: ICC {told.icc:.2f} ({told.low:.2f} to {told.high:.2f}) of "
              f"{told.settings} points; told apart by {two:.1f} points with two seeds, {one:.1f} "
              "with one")  # fmt: skip
    found: dict[tuple[str, int], Array] = {}
    for upto in (6, 8, 10):
        for last in (1, 3, 5):
            found[f"linear, last {last}", upto] = linear[..., upto - last : upto].mean(-1)
            both = (linear + knn)[..., upto - last : upto].mean(-1)
            found[f"linear + kNN, last {last}", upto] = both
        found["linear, EMA 0.7", upto] = smooth(linear[..., :upto], 0.7)
    draw, points = np.random.default_rng(0), linear.shape[1]
    chosen = np.vstack([np.arange(points), draw.integers(points, size=(1000, points))])
    end = linear[..., -1]
    ranks = {
        name: (spearman(one[0][chosen], end[1][chosen]) + spearman(one[1][chosen], end[0][chosen]))
        / 2
        for name, one in found.items()
    }
    plain = ranks["linear, last 1", 10]
    for (name, upto), rank in ranks.items():
        low, high = np.percentile((rank - plain)[1:], [2.5, 97.5])
        print(f"{name:>22} at epoch {3 * upto}: {rank[0]:.2f}; to the last figure "
              f"{(rank - plain)[0]:+.2f} ({low:+.2f} to {high:+.2f})")  # fmt: skip
    for upto in (8, 10):
        assert np.percentile((ranks["linear, last 5", upto] - plain)[1:], 2.5) > 0


BUDGET, SEEDED = 2400, {"random": "random", "TPE": "tpe"}


def chosen_over(
    tables: list[Table], sampler: str, repeats: int, seed: int, folder: Path
) -> list[tuple[int, float]]:
    """Epochs spent and how far the point that would be chosen lies from the best, in points."""
    truth = last(Table())
    best = max(truth.values())
    values = {
        "name": f"s{seed}",
        "storage": str(folder),
        "base": {
            "objective": {"targets": "both"},
            "train": {"epochs": tables[0].epochs, "evaluate_every": 3},
        },
        "space": SPACE,
        "objectives": [{"metric": "linear_val"}],
        "trials": BUDGET // tables[0].epochs,
        "sampler": {"name": sampler, "seed": seed},
        "pruner": NONE,
        "repeats": repeats,
        "final": {"seeds": [0, 1]},
    }
    source, spent, found = TrialSource(parse_sweep(values, "s.yaml"), "benchmark"), 0, []
    while (training := source.next()) is not None and spent < BUDGET:
        table = tables[training.experiment.seed]
        row = table[table.point(training.values)][-1]
        source.end(training, "complete", row)
        spent += table.epochs
        if ranking := source.ranking():
            found.append((spent, 100 * (best - truth[table.point(ranking[0].drawn)])))
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_further_seeds_in_the_search_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``repeats``: sooner near the best mean than with one seed for all."""
    monkeypatch.setattr("sweeps.search.trial_source.open_storage", lambda *_: Memory())
    tables = [Table(seed=seed) for seed in Table().seeds]
    found: dict[tuple[str, int, float], list[float]] = {}
    for name, sampler in SEEDED.items():
        for repeats in (1, 2):
            ends = []
            for seed in range(REPETITIONS):
                runs = chosen_over(tables, sampler, repeats, seed, tmp_path / f"{name}{repeats}")
                ends.append(runs[-1][1])
                for near in NEAR:
                    after = [spent for spent, far in runs if far > 100 * near]
                    epochs = math.inf if runs[-1][1] > 100 * near else max(after, default=0) + 30
                    found.setdefault((name, repeats, near), []).append(epochs)
            print(
                f"\n{name}, {repeats} seeds: after {BUDGET} epochs {statistics.mean(ends):.2f} "
                "points below the best; what would be chosen stays near from",
                end="",
            )
            for near in NEAR:
                epochs = found[name, repeats, near]
                print(f" {statistics.median(epochs):.0f} ({100 * near:g} points, "
                      f"{sum(map(math.isfinite, epochs))} of {len(epochs)})", end="")  # fmt: skip
    for near in NEAR:
        assert statistics.median(found["random", 2, near]) < statistics.median(
            found["random", 1, near]
        )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_epochs_until_near_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping at epochs that have been seen to rank costs no more than stopping nobody."""
    table = Table()
    assert len(table) == WHOLE
    monkeypatch.setattr("sweeps.search.trial_source.open_storage", lambda *_: Memory())
    needed = {
        name: [epochs_needed(table, *way, seed, tmp_path / name) for seed in range(REPETITIONS)]
        for name, way in WAYS.items()
    }
    found = ranks(table, table)
    print("\nrank correlation with the end:", {e: round(r, 2) for e, r in found.items()})
    for place, near in enumerate(NEAR):
        there = sum(value >= table.best() - near for value in last(table).values())
        print(f"{there} of {len(table)} points × {table.epochs} epochs are within {100 * near:g} "
              f"points of {100 * table.best():.1f} %; epochs until one is found:")  # fmt: skip
        for name, runs in needed.items():
            spent = sorted(run[place] for run in runs)
            low, middle, high = (spent[len(spent) * quarter // 4] for quarter in (1, 2, 3))
            print(f"{name:>21}: median {middle:.0f} (quartiles {low:.0f} and {high:.0f}), found by "
                  f"{sum(map(math.isfinite, spent))} of {len(spent)}")  # fmt: skip
    for place, _ in enumerate(NEAR):
        careful, plain = (
            statistics.median(run[place] for run in needed[name])
            for name in ("random + careful ASHA", "random")
        )
        assert careful <= plain < math.inf
