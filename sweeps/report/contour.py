"""The objective over two numeric variables, as a surface that knows how little it knows."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from sweeps.report.importance import Importances
from sweeps.report.marks import Dot, dots, logarithmic, ring
from sweeps.report.trials import Trial, Trials
from sweeps.spec.space import Float, Int, Space

BLUES = LinearSegmentedColormap.from_list("blues", ["#d3e0ee", "#7fa8d1", "#2f6fb5", "#123a66"])
FEWEST = 8  # complete trials from which a surface is drawn
MOST = 300  # trials that it is fitted to: its time grows with their cube
GRID = 41
PREFERRED = ("objective.temperature", "objective.schedule.end")


def pair(space: Space, found: Importances) -> tuple[str, str] | None:
    """Return the two numeric variables to draw: τ and the schedule's end if both are searched."""
    numeric = [name for name, variable in space.items() if isinstance(variable, Float | Int)]
    if all(name in numeric for name in PREFERRED):
        return PREFERRED
    order = [*(name for name in found.variables if name in numeric), *numeric]
    first = list(dict.fromkeys(order))[:2]
    return (first[0], first[1]) if len(first) > 1 else None


def contour(axes: Any, trials: Trials, names: tuple[str, str]) -> str:
    """Draw the objective over two variables, and return what the surface is.

    The surface is the mean of a Gaussian process on the complete trials. All other variables vary
    beneath it, which the process takes as noise; where it knows little, the surface fades out.
    """
    drew = [t for t in trials.all if all(n in t.drawn for n in names)]
    ground = [t for t in drew if t.outcome == "complete" and t.values]
    said = f"fewer than {FEWEST} complete trials: no surface is drawn"
    if len(ground) >= FEWEST:
        said = _surface(axes, trials, ground[-MOST:], names)
    points: dict[str, list[Dot]] = {"pruned": [], "complete": [], "failed": []}
    for trial in drew:
        x, y = (float(trial.drawn[name]) for name in names)
        points[trial.outcome].append((x, y, trial.number))
    dots(axes, "pruned", points["pruned"], zorder=4)
    dots(axes, "complete", points["complete"], zorder=4, edgecolor="white", linewidth=0.7)
    ring(axes, points["complete"], trials.winner)
    for axis, name in zip("xy", names, strict=True):
        variable = trials.spec.space[name]
        assert isinstance(variable, Float | Int)
        axes.set(**{f"{axis}lim": (variable.low, variable.high), f"{axis}label": name})
        if variable.log:
            logarithmic(axes, axis, variable.high / variable.low)
    axes.grid(visible=False)
    return said


def _surface(axes: Any, trials: Trials, ground: list[Trial], names: tuple[str, str]) -> str:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    space, objective = trials.spec.space, trials.objective
    x = np.array([[height(space[n], t.drawn[n]) for n in names] for t in ground])
    y = np.array([t.value for t in ground])
    best = np.array([t.score for t in ground])
    kept = best >= np.median(best) - 4 * np.percentile(np.abs(best - np.median(best)), 75)
    x, y = x[kept], y[kept]
    if y.std() == 0:
        return "all complete trials are worth the same: no surface is drawn"
    signal = ConstantKernel(1.0, (0.05, 20)) * RBF([0.4, 0.4], (0.15, 5))
    process = GaussianProcessRegressor(
        signal + WhiteKernel(0.3, (0.01, 3)), normalize_y=True, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound was met: as intended
        process.fit(x, y)
    steps = np.linspace(0, 1, GRID)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    mean, deviation = (
        found.reshape(GRID, GRID) for found in process.predict(grid, return_std=True)
    )
    noise = process.kernel_.k2.noise_level
    # The share of the signal's prior variance that the trials explain, 0..1
    known = 1 - ((deviation / y.std()) ** 2 - noise) / process.kernel_.k1.k1.constant_value
    scales = [_values(space[name], steps) for name in names]
    drawn = axes.contourf(*scales, mean, levels=9, cmap=BLUES, alpha=0.85)
    axes.contourf(*scales, known.clip(0, 1), levels=[0, 0.2, 0.4, 0.6], colors=["#ffffff"] * 3,
                  alpha=0.45)  # fmt: skip
    axes.figure.colorbar(drawn, ax=axes, label=objective.metric, pad=0.02)
    return (
        f"mean of a Gaussian process on {len(y)} complete trials, paler where they say little; the "
        f"other variables and the seed scatter it by ± {math.sqrt(noise) * y.std():.2g}"
    )


def height(variable: Any, value: Any) -> float:
    """Return where a value stands in its variable's range, 0..1."""
    if not isinstance(variable, Float | Int):
        choices = list(variable.choices)
        return choices.index(value) / max(len(choices) - 1, 1)
    low, high = float(variable.low), float(variable.high)
    if variable.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _values(variable: Any, heights: Any) -> Any:
    if variable.log:
        return variable.low * (variable.high / variable.low) ** heights
    return variable.low + (variable.high - variable.low) * heights
