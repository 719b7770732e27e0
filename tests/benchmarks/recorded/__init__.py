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


class Table:
    """A recorded grid; draws between its points take the nearest one's figures.

    Args:
        path: of the Parquet file.
        seed: whose trainings; None: each figure is the mean over all seeds.
    """

    def __init__(self, path: Path = UTD_MHAD, *, seed: int | None = None) -> None:
        frame = pd.read_parquet(path)
        self.settings = [name for name in frame.columns if "." in name]
        self.epochs = int(frame["epoch"].max())
        self.seeds = sorted(map(int, frame["seed"].unique()))
        if seed is not None:
            frame = frame[frame["seed"] == seed]
        frame = frame.groupby([*self.settings, "epoch"], as_index=False)[FIGURES].mean()
        self._values = {name: frame[name].unique().tolist() for name in self.settings}
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
        """The point next to what was drawn."""
        return tuple(self._near(name, drawn[name]) for name in self.settings)

    def _near(self, name: str, wanted: Any) -> Any:
        values = self._values[name]
        if isinstance(wanted, str):
            return wanted
        place = math.log if name.endswith("temperature") else float  # those lie evenly in log
        return min(values, key=lambda value: abs(place(value) - place(wanted)))

    def best(self) -> float:
        """The highest last ``linear_val`` of any point."""
        return max(rows[-1]["linear_val"] for rows in self._rows.values())


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
    settings = [name for name in frame.columns if "." in name]
    order = [*settings, "seed", "epoch"]
    frame = frame.drop_duplicates(order).sort_values(order)
    frame.to_parquet(out, index=False, compression="zstd")
    return frame
