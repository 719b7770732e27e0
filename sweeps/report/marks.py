"""What all pictures share: the marks of trials, their colours, and axes that show what matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from c2vl.training.figures import describe
from sweeps.report.svg import link
from sweeps.spec.objective import Objective

BEST = "#e08e1b"
COLOUR = {"complete": "#2f6fb5", "pruned": "#a3adba", "failed": "#c8553d", "best": BEST}
DOTS: dict[str, dict[str, Any]] = {
    "complete": {"facecolor": COLOUR["complete"], "edgecolor": "none"},
    "pruned": {"facecolor": "white", "edgecolor": COLOUR["pruned"], "linewidth": 1.3},
    "failed": {"facecolor": "none", "edgecolor": COLOUR["failed"], "linewidth": 1.6},
    "best": {"facecolor": BEST, "edgecolor": "none"},
}
MANY = 300  # dots, from which they are drawn smaller

Dot = tuple[float, float, int]  # x, y, number of the trial
Line = Sequence[tuple[float, float]]


def dots(axes: Any, looks: str, points: Sequence[Dot], **style: Any) -> None:
    """Draw one dot a trial, in the style of an outcome or of the "best"."""
    if points:
        x, y, numbers = zip(*points, strict=True)
        known = {**DOTS[looks], "s": 22 if len(points) < MANY else 10}
        link(axes.scatter(x, y, **{**known, **style}), numbers)


def lines(axes: Any, found: Sequence[tuple[int, Line]], **style: Any) -> None:
    """Draw one line a trial: its number, then its points."""
    if found:
        drawn = LineCollection([line for _, line in found], **style)
        link(drawn, [number for number, _ in found])
        axes.add_collection(drawn)


def ring(axes: Any, points: Iterable[Dot], winner: int | None) -> None:
    """Mark the winner's dot."""
    for x, y, number in points:
        if number == winner:
            axes.scatter([x], [y], s=110, facecolor="none", edgecolor=BEST, linewidth=2, zorder=9)


def spread(number: int) -> float:
    """A place in -0.5..0.5 that follows from the number alone; neighbouring numbers lie apart."""
    return (number * 0.618033988749895) % 1 - 0.5


def label(objective: Objective) -> str:
    """Name an objective on an axis."""
    unit = describe(objective.metric).unit
    better = "higher" if objective.sign > 0 else "lower"
    return f"{objective.metric} ({f'{unit}, ' if unit else ''}{better} is better)"


def focus(axes: Any, values: Iterable[float], objective: Objective) -> None:
    """Fit the y axis to the values that matter: a few very bad ones fall off its bad end."""
    found = np.array(sorted(values))
    if len(found) < 2:
        return
    up = objective.sign > 0
    distance = np.abs(found - (found[-1] if up else found[0]))
    kept = found[distance <= max(4 * np.percentile(distance, 80), 1e-12)]
    low, high = float(kept.min()), float(kept.max())
    margin = 0.06 * (high - low or abs(high) or 1.0)
    if len(kept) < len(found):
        axes.annotate(f"{len(found) - len(kept)} further off", (1, 0 if up else 1), ha="right",
                      xycoords="axes fraction", va="bottom" if up else "top",
                      color="#6b7280")  # fmt: skip
    axes.set_ylim(low - margin, high + margin)


def logarithmic(axes: Any, axis: str, ratio: float) -> None:
    """Make an axis whose ends have this ratio logarithmic, with plain numbers on it."""
    axes.set(**{f"{axis}scale": "log"})
    side = getattr(axes, f"{axis}axis")
    side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 50 else (1.0,), numticks=9))
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())


def legend(axes: Any) -> None:
    """Show the legend, if anything has a label."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=10)
