"""Whether a thousandth trial costs the driver what the first one does, and what reading it costs.

The whole driver but the trainings: study, proposals, pruning, tracking in MLflow, what is kept.
A formula stands for a training; its rows are in the run's folder, as a worker leaves them.
Then the commands that read a sweep, on finished ones of 100, 300 and 1,000 trials.

    python -m tests.benchmarks.test_thousand_trials 1000 tpe    # more of it, and what grows
    python -m tests.benchmarks.test_thousand_trials FOLDER      # the commands, on sweeps kept there
"""

from __future__ import annotations

import cProfile
import json
import math
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pytest

from sweeps.choosing.disk_cleanup import DiskCleanup
from sweeps.running.dispatcher import Dispatcher
from sweeps.running.progress import Board
from sweeps.running.stopping import Stop
from sweeps.search.trial_source import TrialSource
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Listener, Row, Training
from sweeps.tracking.tracker import Tracker
from tests.benchmarks.finished_sweep import make
from tests.small import parse_sweep

TRIALS, EPOCHS = 1000, 9
FLAT = 1.2
SIZES = (100, 300, 1000)
LIMITS = {  # CPU seconds and MiB of a command, its start and imports included, at any size
    "list": (2, 150),
    "status synthetic": (2, 150),
    "best synthetic": (2, 150),
    "watch synthetic": (2, 150),
    "compare synthetic-0003 synthetic-0007": (2, 150),
    "importance synthetic": (12, 400),
    "report synthetic": (15, 600),
    "reconcile synthetic --check": (30, 600),
}


def sweep(folder: Path, sampler: str, trials: int) -> SweepSettings:
    values = {
        "name": "thousand",
        "storage": str(folder),
        "base": {"train": {"epochs": EPOCHS, "evaluate_every": 1}},
        "space": {
            "optim.lr": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
            "objective.temperature": {"type": "float", "low": 0.03, "high": 0.5, "log": True},
            "objective.schedule.end": {"type": "float", "low": 0.0, "high": 1.0},
        },
        "sampler": {"name": sampler},
        "pruner": {"name": "asha", "min_epochs": 1, "reduction": 3},
        "trials": trials,
    }
    return parse_sweep(values, "thousand.yaml")


def curve(training: Training) -> list[Row]:
    """Figures of a training: better near lr 0.1 and τ 0.1, with noise of the trial's own."""
    values, draw = training.values, np.random.default_rng(training.number)
    far = math.log10(values["optim.lr"] / 0.1) ** 2
    far += math.log10(values["objective.temperature"] / 0.1) ** 2
    best = 0.9 - 0.1 * far + draw.normal(0, 0.02)
    names = ("loss", "linear_val", "rankme", "uniformity", "seconds", "alpha", "lr")
    return [
        {
            "epoch": epoch,
            "knn_val": best * (1 - math.exp(-epoch / 3)) + draw.normal(0, 0.005),
            **{name: float(draw.random()) for name in names},
        }
        for epoch in range(1, EPOCHS + 1)
    ]


def drive(spec: SweepSettings, source: TrialSource, listeners: list[Listener]) -> list[float]:
    """Run all trials; the CPU seconds of this process, all threads, that each one took."""
    dispatcher, spent = Dispatcher(source, listeners, Stop()), []
    while len(source):
        began = time.process_time()
        trial = f"trial-{len(spent)}"
        training = dispatcher.take(trial)
        assert training is not None
        dispatcher.started(SimpleNamespace(trial_id=trial, num_failures=0))  # type: ignore[arg-type]
        training.folder.mkdir(parents=True)
        pruned = False
        for row in curve(training):
            with (training.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            if pruned := dispatcher.result(trial, row):
                break
        if not pruned:
            dispatcher.result(trial, {"outcome": "complete"})
        dispatcher.ended(trial, pruned=pruned)
        spent.append(time.process_time() - began)
    return spent


def measure(folder: Path, sampler: str, trials: int) -> tuple[float, float]:
    """Print and return time of the last hundred trials over the first, and memory gained, MiB."""
    spec = sweep(folder, sampler, trials)
    spec.folder.path.mkdir(parents=True)
    tracker, source = Tracker(spec, "i"), TrialSource(spec, "i")
    board = Board(spec.name, trials, source.counts(), spec.objectives[0])
    listeners: list[Listener] = [tracker, board, DiskCleanup(spec, [])]
    process, began = psutil.Process(), time.perf_counter()
    gained: list[int] = []

    class Memory(Listener):
        """Notes the memory in use at the end of each trial."""

        def ended(self, *_: Any) -> None:
            gained.append(process.memory_info().rss)

    with patch("sweeps.running.dispatcher.living_node_ids", lambda: {"here"}):  # there is no Ray
        spent = drive(spec, source, [*listeners, Memory()])
    tracker.finish("complete")
    first, last = float(np.mean(spent[:100])), float(np.mean(spent[-100:]))
    grown = (np.mean(gained[-100:]) - np.mean(gained[100:200])) / 2**20
    print(
        f"\n{sampler}: {trials} trials in {time.perf_counter() - began:.0f} s; CPU a trial, first "
        f"hundred {1000 * first:.1f} ms, last hundred {1000 * last:.1f} ms, ratio "
        f"{last / first:.2f}; memory {grown:+.0f} MiB from the second hundred to the last"
    )
    return last / first, float(grown)


@pytest.mark.slow
@pytest.mark.mlflow
def test_the_driver_stays_flat(tmp_path: Path) -> None:
    ratio, grown = measure(tmp_path, "random", TRIALS)
    assert ratio <= FLAT and grown < 50


@pytest.mark.slow
@pytest.mark.mlflow
def test_reading_a_sweep_of_any_size(tmp_path: Path) -> None:
    costs = look(tmp_path)
    for words, (seconds, memory) in LIMITS.items():
        for trials in SIZES:
            cpu, mib = costs[words, trials]
            assert cpu <= seconds and mib <= memory, (words, trials)


def look(folder: Path) -> dict[tuple[str, int], tuple[float, float]]:
    """Measure and print each command on a sweep of each size; make those that are not there yet."""
    costs = {}
    for trials in SIZES:
        home = folder / str(trials)
        if not home.exists():
            make(home, trials, evaluate_every=5)
        sizes = [home / "runs" / name for name in ("mlflow.db", "sweeps/synthetic/study.db")]
        databases = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.0f} MB" for path in sizes)
        print(f"\n{trials} trials: {databases}", flush=True)
        for words in LIMITS:
            costs[words, trials] = cpu, mib = cost(words, home)
            print(f"{words:<40} {cpu:5.1f} CPU s {mib:5.0f} MiB", flush=True)
    page = home / "runs/sweeps/synthetic/report/index.html"
    print(f"page {page.stat().st_size / 1e6:.1f} MB")
    return costs


def cost(words: str, home: Path) -> tuple[float, float]:
    """Run a command as a user does; its CPU seconds and its peak of resident memory in MiB."""
    command = [str(Path(sys.executable).with_name("c2vl-sweep")), *words.split()]
    # By a small process in between: a peak of memory counts what its parent had when it forked
    program = (
        "import resource, subprocess, sys\n"
        f"subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    done = [sys.executable, "-S", "-c", program]
    said = subprocess.run(done, cwd=home, check=True, capture_output=True, text=True).stdout
    cpu, mib = map(float, said.split())
    return cpu, mib


def main() -> None:
    """Measure, and print what grew most from the first trials to the last."""
    if len(sys.argv) == 2:
        look(Path(sys.argv[1]))
        return
    trials, sampler = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        profile = cProfile.Profile()
        profile.enable()
        measure(Path(folder), sampler, trials)
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
