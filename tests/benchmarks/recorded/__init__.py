"""Recorded trainings: a whole grid of settings, to compare ways of searching without training.

``utd_mhad.parquet`` holds each epoch that was evaluated of each point of
``sweeps/presets/recorded.yaml``: UTD-MHAD, cross-subject, a network of 8 channels and 64 features,
16 frames, 30 epochs. Validation figures are means over folds of *training* subjects; the test part
was never read. Columns: the four settings, ``seed``, ``epoch``, the figures, and ``seconds`` since
the training began.

Recording goes on point by point. A sweep over any part of the grid adds to the table what it has
finished; of a training that is there already the first recording stays::

    c2vl-sweep run sweeps/presets/recorded.yaml name=recorded1 seed=1
    python -m tests.benchmarks.recorded runs/sweeps/recorded1 utd_mhad.parquet

``noisy_utd_mhad.parquet`` holds 251 of the 288 points of ``noisy_utd_mhad.yaml``, five seeds each,
with 0.4 of all captions another sequence's; :mod:`tests.benchmarks.recorded.train` recorded it.
``docs/searching.md`` is the card of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from c2vl.support.errors import UserError

FIGURES = ["linear_val", "knn_val", "rankme", "alignment", "uniformity", "loss"]
UTD_MHAD = Path(__file__).parent / "utd_mhad.parquet"
NOISY = Path(__file__).parent / "noisy_utd_mhad.parquet"


class Table:
    """A recorded grid; draws between its points take the nearest one's figures.

    Args:
        path: of the Parquet file.
        seed: whose trainings; None: each figure is the mean over all seeds.
    """

    def __init__(self, path: Path = UTD_MHAD, *, seed: int | None = None) -> None:
        frame = pd.read_parquet(path)
        self.settings = settings_of(frame)
        self.epochs = int(frame["epoch"].max())
        self.seeds = sorted(map(int, frame["seed"].unique()))
        if seed is not None:
            frame = frame[frame["seed"] == seed]
        frame = frame.groupby([*self.settings, "epoch"], as_index=False)[FIGURES].mean()
        numbers = frame[self.settings].select_dtypes("number")
        self._ranges = {
            str(name): (_place(str(name), low), _place(str(name), high))
            for name, (low, high) in numbers.agg(["min", "max"]).items()
        }
        self._rows: dict[tuple[Any, ...], list[dict[str, float]]] = {}
        for point, rows in frame.groupby(self.settings, sort=False):
            figures = rows[["epoch", *FIGURES]].to_dict("records")
            self._rows[tuple(point)] = [{str(k): v for k, v in row.items()} for row in figures]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def __getitem__(self, point: tuple[Any, ...]) -> list[dict[str, float]]:
        return self._rows[point]

    def point(self, drawn: Mapping[str, Any]) -> tuple[Any, ...]:
        """The point next to what was drawn; of numbers each range counts as much as a choice."""
        return min(self._rows, key=lambda point: self._distance(point, drawn))

    def _distance(self, point: tuple[Any, ...], drawn: Mapping[str, Any]) -> float:
        total = 0.0
        for name, value in zip(self.settings, point, strict=True):
            if name in self._ranges:
                low, high = self._ranges[name]
                total += abs(_place(name, value) - _place(name, drawn[name])) / (high - low)
            else:
                total += value != drawn[name]
        return total

    def best(self) -> float:
        """The highest last ``linear_val`` of any point."""
        return max(rows[-1]["linear_val"] for rows in self._rows.values())


def settings_of(frame: pd.DataFrame) -> list[str]:
    """The columns that hold settings: all before the seed."""
    return [str(name) for name in frame.columns[: frame.columns.get_loc("seed")]]


def _place(name: str, value: float) -> float:
    """Where a value lies in its range; temperatures and rates lie evenly in their logarithm."""
    return math.log(value) if name.endswith(("temperature", ".lr")) else float(value)


def record(sweeps: Sequence[Path], out: Path) -> pd.DataFrame:
    """Add the finished trials of sweeps over parts of one grid, a row an evaluated epoch.

    Args:
        sweeps: their folders, ``runs/sweeps/NAME``.
        out: the Parquet file; what it holds stays.
    """
    from sweeps.search.study import reader
    from sweeps.spec.reading import read_sweep

    rows = []
    for sweep in sweeps:
        for job, outcome in reader(read_sweep(sweep.parents[1], sweep.name)).ended():
            if outcome != "complete":
                raise UserError(f"{job.name}: {outcome}; a table holds whole trainings")
            seconds = 0.0
            for row in job.rows():
                seconds += row["seconds"]
                if "linear_val" in row:
                    figures = {name: row[name] for name in FIGURES}
                    spent = {"seconds": round(seconds, 1)}
                    at = {"seed": job.experiment.seed, "epoch": row["epoch"]}
                    rows.append({**job.values, **at, **figures, **spent})
    known = [pd.read_parquet(out)] if out.exists() else []
    frame = pd.concat([*known, pd.DataFrame(rows)])
    settings = settings_of(frame)
    order = [*settings, "seed", "epoch"]
    frame = frame.drop_duplicates(order).sort_values(order)
    frame.to_parquet(out, index=False, compression="zstd")
    return frame
