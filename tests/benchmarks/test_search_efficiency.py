"""What searches find on recorded points: 216 with two seeds, and 251 with five (docs/searching.md).

How many epochs a search trains until it comes near the best point, by sampler and pruner: the real
study source proposes, judges and prunes, one trial at a time, and the epochs come from the table
instead of a training. Early epochs rank these trainings badly; and a point's figure with one seed
says little of its figure with the other one, which bounds what any search can find. So a search
that sees one seed, or gives its best trials the other one too, is judged by what it would choose.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna.storages import InMemoryStorage

from sweeps.choosing.reliability import reliability
from sweeps.search.rank_correlation import rank_correlation, spearman
from sweeps.search.trial_source import TrialSource
from sweeps.spec.reading import load_sweep
from tests.benchmarks.recorded import FIGURES, NOISY, UTD_MHAD, Table
from tests.benchmarks.recorded.train import add, missing
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
NOISY_SPACE = {
    "objective.temperature": {"type": "float", "low": 0.05, "high": 1.0, "log": True},
    "objective.schedule.shape": {"type": "categorical", "choices": ["constant", "cosine"]},
    "objective.schedule.end": {"type": "float", "low": 0.5, "high": 1.0},
    "objective.beta": {"type": "float", "low": 0.0, "high": 1.0},
    "optim.lr": {"type": "float", "low": 0.001, "high": 0.016, "log": True},
    "pairs": {
        "type": "variant",
        "choices": {"all": {}, "filtered": {"prompts.missing": "exclude"}},
    },
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


@cache
def by_seed(path: Path) -> dict[int, Table]:
    return {seed: Table(path, seed=seed) for seed in Table(path).seeds}


def ranks(table: Table, end: Table) -> dict[int, float]:
    """Spearman's correlation of each evaluated epoch's figure with the last one's of ``end``."""
    curves = {at: {int(row["epoch"]): row["linear_val"] for row in table[at]} for at in table}
    ended = [(curve, end[at][-1]["linear_val"]) for at, curve in curves.items()]
    epochs = [int(row["epoch"]) for row in table[next(iter(table))]]
    return {epoch: rank_correlation(ended, epoch)[0] for epoch in epochs}


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


def test_which_figure_of_one_seed_ranks_the_others_where_captions_are_wrong() -> None:
    """Neighbours rank the linear probe of four other seeds better than its own one seed does."""
    tables = by_seed(NOISY)
    mean = last(Table(NOISY))
    points = sorted(mean, key=mean.__getitem__)
    rate = Table(NOISY).settings.index("optim.lr")
    known = {
        figure: np.array([[table[at][-1][figure] for at in points] for table in tables.values()])
        for figure in FIGURES
    }  # (seeds, points)
    known["linear_val + knn_val"] = known["linear_val"] + known["knn_val"]
    others = (known["linear_val"].sum(0) - known["linear_val"]) / (len(tables) - 1)
    gains = {}
    for which, some in (
        ("all", np.arange(len(points))),
        ("the better half", np.arange(len(points) // 2, len(points))),
        ("learning rate 0.016", np.array([n for n, at in enumerate(points) if at[rate] == 0.016])),
    ):
        draw = np.random.default_rng(0)
        chosen = some[
            np.vstack([np.arange(len(some)), draw.integers(len(some), size=(500, len(some)))])
        ]
        ranks = {
            name: np.mean([spearman(one[chosen], end[chosen])
                           for one, end in zip(values, others, strict=True)], axis=0)
            for name, values in known.items()
        }  # fmt: skip
        for name, rank in ranks.items():
            gain = np.abs(rank) - ranks["linear_val"]
            low, high = np.percentile(gain[1:], [2.5, 97.5])
            gains[which, name] = low
            print(f"\n{which}, {len(some)}: {name} {rank[0]:+.2f}; to linear_val {gain[0]:+.2f} "
                  f"({low:+.2f} to {high:+.2f})", end="")  # fmt: skip
    assert gains["the better half", "knn_val"] > 0 and gains["learning rate 0.016", "knn_val"] > 0


def test_a_recording_that_was_cut_short_is_a_table_and_goes_on(tmp_path: Path) -> None:
    spec = load_sweep(NOISY.with_suffix(".yaml"))
    out, points = tmp_path / "table.parquet", missing(spec, tmp_path / "table.parquet")
    for place, point in enumerate(points[:3]):
        figures = {**dict.fromkeys(FIGURES, 0.1 * place), "seconds": 1.0}
        add([{**point, "seed": seed, "epoch": 24, **figures} for seed in (0, 1)], out)
    assert missing(spec, out) == points[3:] and len(points) == 288
    table = Table(out)
    assert (len(table), table.seeds, table.best()) == (3, [0, 1], pytest.approx(0.2))
    for point in points[:3]:
        near = {**point, "objective.beta": 0.9 * point["objective.beta"] + 0.01}
        assert dict(zip(table.settings, table.point(near), strict=True)) == point


BUDGET, NOISY_BUDGET = 2400, 3600
SEEDED = {"random": "random", "TPE": "tpe", "Gaussian process": "gp"}
Spent = tuple[int, float, float]
Searches = Callable[..., list[list[Spent]]]


def searched(
    seed: int, path: Path, sampler: str, pruner: dict[str, Any], repeats: int, epochs: int
) -> list[Spent]:
    """Search with one seed's figures, further ones where a trial repeats, for so many epochs.

    Args:
        seed: of the sampler; the table's seeds are the search's own one in turn.
        path: of the table.
        epochs: after which no training begins.

    Returns:
        After each training the epochs spent, and how many points below the best mean over all
        seeds lie the best setting that ran to its end and the one that would be chosen.
    """
    tables = by_seed(path)
    seeds = sorted(tables)
    own = seeds[seed % len(seeds)]
    truth = last(Table(path))
    best = max(truth.values())
    values = {
        "name": f"s{seed}",
        "storage": "benchmark",  # nothing is written there
        "base": {
            "seed": own,
            "objective": {"targets": "both"},
            "train": {"epochs": tables[own].epochs},
        },
        "space": SPACE if path == UTD_MHAD else NOISY_SPACE,
        "objectives": [{"metric": "linear_val"}],
        "trials": 1000,
        "sampler": {"name": sampler, "seed": seed},
        "pruner": pruner,
        "repeats": repeats,
        "final": {"seeds": sorted(seeds, key=lambda one: (one - own) % (seeds[-1] + 1))},
    }
    with patch("sweeps.search.trial_source.open_storage", lambda *_: Memory()):
        source = TrialSource(parse_sweep(values, "s.yaml"), "benchmark")
    spent, found = 0, []
    tried = math.inf
    while spent < epochs:
        training = source.next()
        if training is None:  # the sampler takes longer than the source waits for it
            time.sleep(0.1)
            continue
        table, before = tables[training.experiment.seed], 0
        at = table.point(training.values)
        for row in table[at]:
            spent, before = spent + int(row["epoch"]) - before, int(row["epoch"])
            if source.report(training, row):
                source.end(training, "pruned", row)
                break
        else:
            source.end(training, "complete", row)
            tried = min(tried, 100 * (best - truth[at]))
        ranking = source.ranking()
        chosen = 100 * (best - truth[table.point(ranking[0].drawn)]) if ranking else math.inf
        found.append((spent, tried, chosen))
    return found


@pytest.fixture(scope="module")
def searches() -> Iterator[Searches]:
    """What so many searches find, as many at once as there are cores."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:

        def run(*way: Any) -> list[list[Spent]]:
            asked = [pool.submit(searched, seed, *way) for seed in range(REPETITIONS)]
            return [one.result() for one in asked]

        yield run


def stays(runs: list[Spent], near: float) -> float:
    """From how many epochs on what would be chosen stays near the best mean; infinite if never."""
    far = [place for place, (_, _, chosen) in enumerate(runs) if chosen > near]
    first = far[-1] + 1 if far else 0
    return runs[first][0] if first < len(runs) else math.inf


def found_at(runs: list[Spent], near: float) -> float:
    """After how many epochs a setting near the best mean has run to its end."""
    return next((spent for spent, tried, _ in runs if tried <= near), math.inf)


def told(epochs: list[float]) -> str:
    return f"{statistics.median(epochs):.0f} ({sum(map(math.isfinite, epochs))} of {len(epochs)})"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SEEDED)
def test_what_further_seeds_in_the_search_gain(name: str, searches: Searches) -> None:
    """``repeats``: random search is sooner near the best mean than with one seed for all."""
    needed: dict[tuple[int, float], float] = {}
    for repeats in (1, 2):
        runs = searches(UTD_MHAD, SEEDED[name], NONE, repeats, BUDGET)
        ends = statistics.mean(one[-1][2] for one in runs)
        print(f"\n{name}, {repeats} seeds: after {BUDGET} epochs {ends:.2f} points below the best; "
              "what would be chosen stays near from", end="")  # fmt: skip
        for near in NEAR:
            epochs = [stays(one, 100 * near) for one in runs]
            needed[repeats, near] = statistics.median(epochs)
            print(f" {told(epochs)} ({100 * near:g} points)", end="")
    if name == "random":  # how much a sampler that learns gains is printed
        assert all(needed[2, near] <= needed[1, near] for near in NEAR)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(
    not NOISY.exists(), reason="not recorded: python -m tests.benchmarks.recorded.train"
)
def test_searches_where_captions_are_wrong(searches: Searches) -> None:
    """TPE tries a setting within a point of the best mean in two thirds of random's epochs.

    The aim was half of them with pruning; how near it comes is printed.
    """
    tables = by_seed(NOISY)
    mean = last(Table(NOISY))
    ends_by_seed = [last(table) for table in tables.values()]
    best, epochs = max(mean.values()), next(iter(tables.values())).epochs
    for which, least in (("all", 0.0), ("the better half", statistics.median(mean.values()))):
        apart = reliability([one[at] for one in ends_by_seed] for at in mean if mean[at] >= least)
        assert apart is not None and apart.icc is not None
        one, all_of_them = (100 * apart.difference(seeds) for seeds in (1, len(tables)))
        print(f"\n{which}: ICC {apart.icc:.2f} ({apart.low:.2f} to {apart.high:.2f}) of "
              f"{apart.settings} settings; told apart by {one:.1f} points with one seed, "
              f"{all_of_them:.1f} with {len(tables)}", end="")  # fmt: skip
    within = {near: sum(value >= best - near / 100 for value in mean.values()) for near in (1, 2)}
    print(f"\n{len(mean)} settings × {len(tables)} seeds × {epochs} epochs; best mean "
          f"{100 * best:.1f} %; within so many points: {within}")  # fmt: skip
    own = [ranks(table, table) for table in tables.values()]
    for epoch in own[0]:
        ranked = statistics.mean(one[epoch] for one in own)
        print(f"epoch {epoch} ranks its own seed's end with {ranked:.2f}")
    blind = {"min_epochs": epochs // 4, "reduction": 3}
    careful = blind | {"reduction": 2, "startup_trials": 10, "min_rank_correlation": 0.5}
    needed: dict[str, float] = {}
    for name, sampler, pruner, repeats in [
        (f"{name}{', ' + stops if stops else ''}{f', repeats: {repeats}' if repeats > 1 else ''}",
         sampler, pruner, repeats)
        for name, sampler in (("random", "random"), ("TPE", "tpe"))
        for stops, pruner, repeats in (
            ("", NONE, 1), ("", NONE, 3), ("ASHA", blind, 1), ("ASHA", blind, 3),
            ("careful ASHA", careful, 1),
        )
    ]:  # fmt: skip
        runs = searches(NOISY, sampler, pruner, repeats, NOISY_BUDGET)
        tried = [found_at(one, 1.0) for one in runs]
        needed[name] = statistics.median(tried)
        one_point, two_points = (told([stays(one, near) for one in runs]) for near in (1.0, 2.0))
        ends = statistics.mean(one[-1][2] for one in runs)
        print(f"{name}: a setting within 1 point tried after {told(tried)} epochs, the choice "
              f"stays within 1 from {one_point}, within 2 from {two_points}; at the end "
              f"{ends:.2f} points below", flush=True)  # fmt: skip
    for name in ("TPE", "TPE, ASHA", "TPE, careful ASHA"):
        print(f"{name}: {needed[name] / needed['random']:.2f} of random search's epochs")
    assert needed["TPE"] <= 2 / 3 * needed["random"] >= needed["TPE, careful ASHA"]


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
