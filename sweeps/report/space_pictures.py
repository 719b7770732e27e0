"""Pictures of the space: which variables mattered, and where the good trials lie in it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from sweeps.report.importance import Importance, Importances
from sweeps.report.search_pictures import BEST, COLOUR, dots, focus, ring, spread
from sweeps.report.svg import LINES, link
from sweeps.report.trials import Trial, Trials, scored
from sweeps.spec.space import Float, Int
from sweeps.spec.sweep import SweepSettings

AXES = 12  # of parallel coordinates
SURFACE = 8  # complete trials from which a surface is drawn
FEW = 5
GROUND = 300  # trials that it is fitted to, at most: its time grows with their cube
BLUES = LinearSegmentedColormap.from_list("blues", ["#d3e0ee", "#7fa8d1", "#2f6fb5", "#123a66"])
PREFERRED = ("objective.temperature", "objective.schedule.end")
NOT_DRAWN = -0.14


def importance(axes: Any, found: Importances) -> None:
    """Draw shares of the variance with their intervals, and what noise gets."""
    names = list(found.variables)[::-1]
    for place, name in enumerate(names):
        one: Importance = found.variables[name]
        axes.barh(place, one.share, height=0.62, color=COLOUR["complete"],
                  alpha=0.45 if one.conditional else 0.9)  # fmt: skip
        spread = [[one.share - one.low], [one.high - one.share]]
        axes.errorbar(one.share, place, xerr=spread, color="#1f2937", capsize=3, lw=1.1)
    if found.noise:
        axes.axvline(found.noise, color=COLOUR["failed"], ls="--", lw=1.1)
        axes.annotate("noise", (found.noise, 1), xycoords=("data", "axes fraction"), va="bottom",
                      ha="center", color=COLOUR["failed"])  # fmt: skip
    axes.set_yticks(range(len(names)), [short(n, names) for n in names])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="share of the objective's variance", xlim=(0, 1))


def short(name: str, among: list[str]) -> str:
    """The last words of a setting that tell it from the others."""
    words = name.split(".")
    for count in range(1, len(words) + 1):
        tail = ".".join(words[-count:])
        if sum(other == tail or other.endswith("." + tail) for other in among) == 1:
            return tail
    return name


def slice_of(axes: Any, trials: Trials, name: str, winner: int | None) -> None:
    """Draw the objective against one variable."""
    variable = trials.spec.space[name]
    values = [] if isinstance(variable, Float | Int) else list(variable.choices)

    def place(trial: Trial) -> float:
        value = trial.job.values[name]
        return values.index(value) + 0.5 * spread(trial.number) - 0.25 if values else float(value)

    drew = [t for t in trials.all if name in t.job.values and t.values]
    complete = [t for t in drew if t.outcome == "complete"]
    stopped = [t for t in drew if t.outcome == "pruned"]
    for looks, own, fill in (("pruned", stopped, "white"), ("complete", complete, None)):
        points = [(place(t), t.value, t.number) for t in own]
        dots(axes, looks, points, facecolor=fill or COLOUR[looks], edgecolor=COLOUR[looks])
    for trial in complete:
        if trial.number == winner:
            ring(axes, place(trial), trial.value)
    if isinstance(variable, Float | Int) and variable.log:
        logarithmic(axes, "x", variable.high / variable.low)
    if values:
        for at, value in enumerate(values):
            own = [t for t in complete if t.job.values[name] == value]
            if own:
                median = np.median([t.value for t in own])
                axes.hlines(median, at - 0.32, at + 0.32, color=BEST, lw=2, zorder=5)
        axes.set_xticks(range(len(values)), [_name(v) for v in values])
        axes.tick_params(axis="x", labelrotation=30 if len(values) > 3 else 0)
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.grid(visible=False, axis="x")
    # Complete trials are to be told apart; of the others those in view are enough
    shown = complete if len(complete) >= FEW else drew
    focus(axes, [t.value for t in shown], trials.spec.objectives[0])


def logarithmic(axes: Any, axis: str, ratio: float) -> None:
    """Make an axis whose ends have this ratio logarithmic, with plain numbers on it."""
    axes.set(**{f"{axis}scale": "log"})
    side = getattr(axes, f"{axis}axis")
    side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 50 else (1.0,), numticks=9))
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())


def pair(spec: SweepSettings, found: Importances) -> tuple[str, str] | None:
    """The two numeric variables whose contour is drawn: τ and the schedule's end, if searched."""
    numeric = [name for name, v in spec.space.items() if isinstance(v, Float | Int)]
    if all(name in numeric for name in PREFERRED):
        return PREFERRED
    order = [n for n in found.variables if n in numeric]
    order += [n for n in numeric if n not in order]
    return (order[0], order[1]) if len(order) > 1 else None


def contour(axes: Any, trials: Trials, names: tuple[str, str], winner: int | None) -> str:
    """Draw the objective over two variables; returns what the surface is.

    The surface is the mean of a Gaussian process on the complete trials. All other variables vary
    beneath it, which the process takes as noise; where it knows little, the surface fades out.
    """
    spec = trials.spec
    drew = [t for t in trials.all if all(n in t.job.values for n in names)]
    ground = [t for t in drew if t.outcome == "complete" and t.values]
    said = f"fewer than {SURFACE} complete trials: no surface is drawn"
    if len(ground) >= SURFACE:
        said = _surface(axes, trials, ground[-GROUND:], names)
    for outcome in ("pruned", "complete"):
        own = [t for t in drew if t.outcome == outcome]
        points = [(_at(t, names[0]), _at(t, names[1]), t.number) for t in own]
        style = {"edgecolor": "white", "linewidth": 0.7} if outcome == "complete" else {
            "facecolor": "none", "edgecolor": COLOUR["pruned"]}  # fmt: skip
        dots(axes, outcome, points, zorder=4, **style)
    for trial in ground:
        if trial.number == winner:
            ring(axes, _at(trial, names[0]), _at(trial, names[1]))
    for axis, name in zip("xy", names, strict=True):
        variable = spec.space[name]
        assert isinstance(variable, Float | Int)
        axes.set(**{f"{axis}lim": (variable.low, variable.high), f"{axis}label": name})
        if variable.log:
            logarithmic(axes, axis, variable.high / variable.low)
    axes.grid(visible=False)
    return said


def _at(trial: Trial, name: str) -> float:
    return float(trial.job.values[name])


def _surface(axes: Any, trials: Trials, ground: list[Trial], names: tuple[str, str]) -> str:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    spec = trials.spec
    x = np.array([[height(spec, n, t.job.values[n]) for n in names] for t in ground])
    raw = np.array([t.value for t in ground])
    best = np.array([scored(spec.objectives[:1], t)[0] for t in ground])
    kept = best >= np.median(best) - 4 * np.percentile(np.abs(best - np.median(best)), 75)
    x, y = x[kept], raw[kept]
    if y.std() == 0:
        return "all complete trials are worth the same: no surface is drawn"
    kernel = ConstantKernel(1.0, (0.05, 20)) * RBF([0.4, 0.4], (0.15, 5)) + WhiteKernel(
        0.3, (0.01, 3)
    )
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound was met: as intended
        process.fit(x, y)
    u = np.linspace(0, 1, 41)
    grid = np.stack(np.meshgrid(u, u), axis=-1)
    mean = process.predict(grid.reshape(-1, 2)).reshape(41, 41)
    noiseless = process.kernel_.k1
    near = _known(noiseless, process.kernel_.k2.noise_level, x, grid.reshape(-1, 2)).reshape(41, 41)
    scales = [_values(spec, name, u) for name in names]
    drawn = axes.contourf(*scales, mean, levels=9, cmap=BLUES, alpha=0.85)
    axes.contourf(*scales, near, levels=[0, 0.2, 0.4, 0.6], colors=["#ffffff"] * 3,
                  alpha=0.45)  # fmt: skip
    axes.figure.colorbar(drawn, ax=axes, label=spec.objectives[0].metric, pad=0.02)
    rest = math.sqrt(process.kernel_.k2.noise_level) * y.std()
    return (
        f"mean of a Gaussian process on {len(y)} complete trials, paler where they say little; "
        f"the other variables and the seed scatter it by ± {rest:.2g}"
    )


def _known(kernel: Any, noise: float, x: NDArray[Any], grid: NDArray[Any]) -> NDArray[Any]:
    """The share of the surface's prior variance that the trials explain, 0..1."""
    across = kernel(grid, x)
    solved = np.linalg.solve(kernel(x) + noise * np.eye(len(x)), across.T)
    explained: NDArray[Any] = np.einsum("ij,ji->i", across, solved) / kernel.diag(grid)
    return explained.clip(0, 1)


def _values(spec: SweepSettings, name: str, u: NDArray[Any]) -> NDArray[Any]:
    variable = spec.space[name]
    assert isinstance(variable, Float | Int)
    if variable.log:
        return np.asarray(variable.low * (variable.high / variable.low) ** u)
    return np.asarray(variable.low + (variable.high - variable.low) * u)


def height(spec: SweepSettings, name: str, value: Any) -> float:
    """Where a value stands in its variable's range, 0..1."""
    variable = spec.space[name]
    if not isinstance(variable, Float | Int):
        choices = list(variable.choices)
        return choices.index(value) / max(len(choices) - 1, 1)
    low, high = float(variable.low), float(variable.high)
    if variable.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def parallel(axes: Any, trials: Trials, order: list[str], winner: int | None) -> None:
    """Draw what was drawn, a line a trial through all variables to the objectives."""
    spec = trials.spec
    names = [n for n in spec.space if n in order[:AXES]]
    ends = _objective_axes(trials)
    seen = [t for t in trials.all if t.outcome in ("complete", "pruned")]
    firsts = np.array([scored(spec.objectives[:1], t)[0] for t in trials.complete])
    for looks in ("pruned", "", "best"):
        own = [t for t in seen if _looks(t, winner) == looks]
        lines, colours = [], []
        for trial in own:
            drawn = [_drawn(spec, name, trial.job.values) for name in names]
            drawn += [scale(trial) for _, _, scale in ends]
            line = [(at, y) for at, y in enumerate(drawn) if not math.isnan(y)]
            lines.append(line)
            if looks == "":
                rank = float((firsts < scored(spec.objectives[:1], trial)[0]).mean())
                colours.append(mpl.colors.to_hex(BLUES(rank)))
        if lines:
            style: dict[str, Any] = {"colors": colours or COLOUR.get(looks, BEST)}
            width = {"pruned": 0.8, "": 1.2, "best": 3.0}[looks]
            order_z = {"pruned": 1, "": 2, "best": 5}[looks]
            group = LineCollection(lines, linewidths=width, zorder=order_z, alpha=0.8, **style)
            link(group, LINES, looks, [t.number for t in own])
            axes.add_collection(group)
    for at, name in enumerate(names):
        _scale(axes, at, _ticks(spec, name))
    for at, (_, ticks, _) in enumerate(ends, len(names)):
        _scale(axes, at, ticks)
    labels = ["\n".join(name.rsplit(".", 1)) for name in names] + [name for name, _, _ in ends]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    low = NOT_DRAWN - 0.06 if any(spec.space[n].when for n in names) else -0.06
    axes.set(xlim=(-0.15, len(labels) - 0.55), ylim=(low, 1.06))


def _looks(trial: Trial, winner: int | None) -> str:
    if trial.number == winner:
        return "best"
    return "pruned" if trial.outcome == "pruned" else ""


def _drawn(spec: SweepSettings, name: str, values: Mapping[str, Any]) -> float:
    return height(spec, name, values[name]) if name in values else NOT_DRAWN


def _objective_axes(trials: Trials) -> list[tuple[str, list[tuple[float, str]], Any]]:
    """Name, ticks, and a trial's height, of each objective; the better end is on top."""
    found = []
    for place, objective in enumerate(trials.spec.objectives):
        values = [t.values[place] for t in trials.complete if t.values]
        if not values:
            continue
        low, high = min(values), max(values)
        if objective.direction == "minimize":
            low, high = high, low

        def scale(trial: Trial, place: int = place, low: float = low, high: float = high) -> float:
            if not trial.values or trial.outcome != "complete":
                return math.nan
            return (trial.values[place] - low) / (high - low) if high != low else 0.5

        ticks = (
            [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if low != high else [(0.5, f"{low:.3g}")]
        )
        found.append((objective.metric, ticks, scale))
    return found


def _scale(axes: Any, at: int, ticks: list[tuple[float, str]]) -> None:
    axes.axvline(at, color="#d7dce3", lw=1, zorder=0)
    for y, text in ticks:
        note = axes.annotate(text, (at, y), fontsize=10, xytext=(5, 0), va="center",
                             textcoords="offset points", color="#374151", zorder=8)  # fmt: skip
        note.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5})


def _ticks(spec: SweepSettings, name: str) -> list[tuple[float, str]]:
    variable = spec.space[name]
    if isinstance(variable, Float | Int):
        values: list[Any] = [variable.low, variable.high]
    else:
        values = list(variable.choices)
    ticks = [(height(spec, name, v), _name(v)) for v in values]
    return ticks + ([(NOT_DRAWN, "not drawn")] if variable.when else [])


def _name(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 16 else text[:15] + "…"
