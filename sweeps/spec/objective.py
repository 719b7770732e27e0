"""What a sweep optimises, which of two values is better, and how trials are ranked by it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from c2vl.config.experiment import Settings
from sweeps.spec.training import Row


def sign(direction: str) -> int:
    """Return 1 for "maximize", -1 for "minimize": every comparison of values asks here."""
    return {"maximize": 1, "minimize": -1}[direction]


class Objective(Settings):
    """What trials are ranked by: a figure that training reports, of validation or label-free."""

    metric: str = Field("knn_val", description="a figure of the run; the test part has none here")
    direction: Literal["maximize", "minimize"] = "maximize"
    last: int = Field(1, ge=1, description="mean of so many last values: one epoch alone is noisy")

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return sign(self.direction)

    def better(self, value: float, than: float | None) -> bool:
        """Say whether ``value`` is better than another one, or than none."""
        return than is None or self.sign * value > self.sign * than

    def value(self, rows: Sequence[Row]) -> float | None:
        """Return the mean of the last finite figures of a training; None without any.

        Args:
            rows: figures by epoch; an epoch that stands there twice counts once.
        """
        by_epoch = {row["epoch"]: row.get(self.metric, math.nan) for row in rows if "epoch" in row}
        return self.of_curve([float(by_epoch[epoch]) for epoch in sorted(by_epoch)])

    def of_curve(self, values: Iterable[float]) -> float | None:
        """Return the same of a figure's values, by epoch."""
        finite = [float(value) for value in values if math.isfinite(value)][-self.last :]
        return sum(finite) / len(finite) if finite else None


def objective_values(objectives: Sequence[Objective], rows: Sequence[Row]) -> list[float] | None:
    """Return the value of each objective; None where a training never reported one of them."""
    values = [objective.value(rows) for objective in objectives]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def ranked(objectives: Sequence[Objective], values: Mapping[int, Sequence[float]]) -> list[int]:
    """Return the numbers of trials, best first by the first objective, then by number.

    Of several objectives only the trials on the Pareto front are ranked.

    Args:
        objectives: of the sweep.
        values: of each trial, one an objective.
    """
    costs = {
        number: [-one.sign * value for one, value in zip(objectives, found, strict=True)]
        for number, found in values.items()
    }
    order = sorted(costs, key=lambda number: (costs[number][0], number))
    if len(objectives) == 1:
        return order
    front = pareto_front([costs[number] for number in order])
    return [number for number, on_it in zip(order, front, strict=True) if on_it]


def pareto_front(costs: list[list[float]]) -> list[bool]:
    """Say which rows no other row dominates: is nowhere worse than, and somewhere better.

    Args:
        costs: (rows, objectives), lower is better.
    """
    found = [False] * len(costs)
    front: list[list[float]] = []
    # In this order only an earlier row can dominate a row, and with it one of the front.
    for row in sorted(range(len(costs)), key=lambda row: costs[row]):
        cost = costs[row]
        dominated = any(
            other != cost and all(a <= b for a, b in zip(other, cost, strict=True))
            for other in front
        )
        if not dominated:
            found[row] = True
            front.append(cost)
    return found
