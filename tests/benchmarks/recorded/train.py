"""Trains the points of a grid in processes of its own, without Ray, and adds them to a table.

Points come in a random order, each with all seeds, and the table is written after each point: cut
anywhere it is a sample of the grid, and the same command goes on. Training is the program's own
loop. A trial of a sweep costs some 0.2 CPU seconds beside it, and Ray's processes theirs: much,
where a training takes two.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.spec.capabilities import grid_points
from sweeps.spec.reading import load_sweep
from sweeps.spec.space import experiment
from sweeps.spec.sweep import SweepSettings
from tests.benchmarks.recorded import FIGURES, settings_of

Rows = list[dict[str, Any]]


def train_point(spec: SweepSettings, point: dict[str, Any]) -> tuple[Rows, float]:
    """Train a point with each seed; return a row an evaluated epoch, and the CPU seconds."""
    from c2vl.training import loop
    from c2vl.training.run_folder import RunFolder

    before, found = _cpu_seconds(), []
    for seed in spec.final.seeds:
        rows: Rows = []
        with tempfile.TemporaryDirectory() as folder:
            session = loop.Session(RunFolder(Path(folder) / "run"), rows.append)
            settings = experiment(spec.base, spec.space, point)
            loop.train(settings.model_copy(update={"seed": seed}), session)
        seconds = 0.0
        for row in rows:
            seconds += row["seconds"]
            if "linear_val" in row:
                figures = {name: row[name] for name in FIGURES}
                at = {"seed": seed, "epoch": row["epoch"]}
                found.append({**point, **at, **figures, "seconds": round(seconds, 2)})
    return found, _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def add(rows: Rows, out: Path) -> None:
    """Add rows to a table, which is whole at any moment."""
    known = [pd.read_parquet(out)] if out.exists() else []
    frame = pd.concat([*known, pd.DataFrame(rows)])
    frame = frame.sort_values([*settings_of(frame), "seed", "epoch"])
    part = out.with_suffix(".part")
    frame.to_parquet(part, index=False, compression="zstd")
    part.replace(out)


def missing(spec: SweepSettings, out: Path) -> list[dict[str, Any]]:
    """Return the points that a table lacks, in their random order."""
    points = grid_points(spec)
    random.Random(0).shuffle(points)
    if not out.exists():
        return points
    frame = pd.read_parquet(out)
    there = [dict(row) for row in frame[settings_of(frame)].drop_duplicates().to_dict("records")]
    return [point for point in points if point not in there]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=30.0, help="no point starts after these")
    asked = parser.parse_args()
    spec = load_sweep(asked.sweep)
    points, ends = missing(spec, asked.out), time.monotonic() + 60 * asked.minutes
    print(f"{len(points)} of {len(grid_points(spec))} points are missing", flush=True)
    context = multiprocessing.get_context("spawn")
    spent: list[float] = []
    running: set[Future[tuple[Rows, float]]] = set()
    # Below everything else, so that it may take what is left of a machine
    with ProcessPoolExecutor(asked.processes, context, os.nice, (19,)) as pool:
        while True:
            while points and len(running) < asked.processes and time.monotonic() < ends:
                running.add(pool.submit(train_point, spec, points.pop(0)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                rows, seconds = one.result()
                add(rows, asked.out)
                spent.append(seconds / len(spec.final.seeds))
                mean = sum(spent) / len(spent)
                print(f"{len(points)} left, {mean:.2f} CPU s a training", flush=True)


if __name__ == "__main__":
    main()
