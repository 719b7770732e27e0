"""Parallel coordinates: what each trial drew, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from sweeps.report.contour import BLUES, height
from sweeps.report.marks import COLOUR, lines
from sweeps.report.space_pictures import shown
from sweeps.report.trials import Trial, Trials
from sweeps.spec.space import Float, Int

AXES = 12
NOT_DRAWN = -0.14

Ticks = list[tuple[float, str]]


def parallel(axes: Any, trials: Trials, order: Sequence[str]) -> None:
    """Draw a line a trial through its values and its objectives; the better end is on top.

    Args:
        trials: of the sweep; complete ones are darker the better they did.
        order: of the variables by importance: the first few are drawn.
    """
    space, objectives = trials.spec.space, trials.spec.objectives
    names = [name for name in space if name in order[:AXES]]
    reached = [trial.values for trial in trials.complete if trial.values]
    ends = [
        (min(values), max(values))[:: objective.sign]
        for objective, values in zip(objectives, zip(*reached, strict=True), strict=False)
    ]
    ranking = np.array([trial.score for trial in trials.complete])

    def line(trial: Trial) -> list[tuple[float, float]]:
        drawn = trial.drawn
        places = [height(space[n], drawn[n]) if n in drawn else NOT_DRAWN for n in names]
        if trial.outcome == "complete" and trial.values:
            pairs = zip(trial.values, ends, strict=True)
            places += [(v - a) / (b - a) if a != b else 0.5 for v, (a, b) in pairs]
        return list(enumerate(places))

    def shade(trial: Trial) -> str:
        better = float((ranking < trial.score).mean())
        return mpl.colors.to_hex(BLUES(better))

    rivals = [trial for trial in trials.shown if trial.number != trials.winner]
    pruned = [trial for trial in rivals if trial.outcome == "pruned"]
    complete = [trial for trial in rivals if trial.outcome == "complete"]
    best = [trial for trial in trials.all if trial.number == trials.winner]
    for own, style in (
        (pruned, {"colors": COLOUR["pruned"], "lw": 0.8, "alpha": 0.8, "zorder": 1}),
        (complete, {"colors": [shade(trial) for trial in complete], "lw": 1.2, "zorder": 2}),
        (best, {"colors": COLOUR["best"], "lw": 3.0, "zorder": 5}),
    ):
        lines(axes, [(trial.number, line(trial)) for trial in own], **style)
    ticks = [_ticks(space[name]) for name in names]
    for low, high in ends:
        both = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
        ticks.append(both if low != high else [(0.5, f"{low:.3g}")])
    for at, own_ticks in enumerate(ticks):
        _scale(axes, at, own_ticks)
    labels = ["\n".join(name.rsplit(".", 1)) for name in names]
    labels += [objective.metric for objective in objectives[: len(ends)]]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    low = NOT_DRAWN - 0.06 if any(space[n].when for n in names) else -0.06
    axes.set(xlim=(-0.15, len(labels) - 0.55), ylim=(low, 1.06))


def _scale(axes: Any, at: int, ticks: Ticks) -> None:
    axes.axvline(at, color="#d7dce3", lw=1, zorder=0)
    for y, text in ticks:
        note = axes.annotate(text, (at, y), fontsize=10, xytext=(5, 0), va="center",
                             textcoords="offset points", color="#374151", zorder=8)  # fmt: skip
        note.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5})


def _ticks(variable: Any) -> Ticks:
    ends = isinstance(variable, Float | Int)
    values: list[Any] = [variable.low, variable.high] if ends else list(variable.choices)
    ticks = [(height(variable, value), shown(value)) for value in values]
    return ticks + ([(NOT_DRAWN, "not drawn")] if variable.when else [])
