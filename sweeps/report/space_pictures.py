"""Pictures of the space: which variables mattered, and the objective against each one.

Optuna's matplotlib plots of the same were tried on synthetic sweeps and are not used, here, in
:mod:`.contour` and in :mod:`.parallel`. Importances: a bar without an interval or a level of noise,
so that the two variables without any effect cannot be told from weak ones. Slices: complete trials
alone (9 of 60), ticks of a logarithmic axis printed over each other, choices in the order of the
trials. Contour: interpolates every single value exactly, a bull's-eye at each trial, although the
other variables and the seed scatter it. Parallel coordinates: no winner, names cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sweeps.report.importance import Importances
from sweeps.report.marks import BEST, COLOUR, dots, focus, logarithmic, ring, spread
from sweeps.report.trials import Trial, Trials
from sweeps.spec.space import Float, Int

FEW = 5


def importance(axes: Any, found: Importances) -> None:
    """Draw shares of the variance with their intervals, and what noise gets."""
    names = list(found.variables)[::-1]
    for place, name in enumerate(names):
        one = found.variables[name]
        axes.barh(place, one.share, height=0.62, color=COLOUR["complete"],
                  alpha=0.45 if one.conditional else 0.9)  # fmt: skip
        ends = [[one.share - one.low], [one.high - one.share]]
        axes.errorbar(one.share, place, xerr=ends, color="#1f2937", capsize=3, lw=1.1)
    if found.noise:
        axes.axvline(found.noise, color=COLOUR["failed"], ls="--", lw=1.1)
        axes.annotate("noise", (found.noise, 1), xycoords=("data", "axes fraction"), va="bottom",
                      ha="center", color=COLOUR["failed"])  # fmt: skip
    axes.set_yticks(range(len(names)), [short(n, names) for n in names])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="share of the objective's variance", xlim=(0, 1))


def short(name: str, among: Sequence[str]) -> str:
    """Return the last words of a setting that tell it from the others."""
    words = name.split(".")
    for count in range(1, len(words) + 1):
        tail = ".".join(words[-count:])
        if sum(other == tail or other.endswith("." + tail) for other in among) == 1:
            return tail
    return name


def slice_of(axes: Any, trials: Trials, name: str) -> None:
    """Draw the objective against one variable."""
    variable = trials.spec.space[name]
    choices = [] if isinstance(variable, Float | Int) else list(variable.choices)

    def place(trial: Trial) -> float:
        value = trial.drawn[name]
        return choices.index(value) + 0.5 * spread(trial.number) if choices else float(value)

    drew = [t for t in trials.all if name in t.drawn and t.values]
    complete = [t for t in drew if t.outcome == "complete"]
    for outcome in ("pruned", "complete"):
        points = [(place(t), t.value, t.number) for t in drew if t.outcome == outcome]
        dots(axes, outcome, points)
    ring(axes, [(place(t), t.value, t.number) for t in complete], trials.winner)
    if isinstance(variable, Float | Int) and variable.log:
        logarithmic(axes, "x", variable.high / variable.low)
    if choices:
        for at, value in enumerate(choices):
            if own := [t.value for t in complete if t.drawn[name] == value]:
                axes.hlines(np.median(own), at - 0.32, at + 0.32, color=BEST, lw=2, zorder=5)
        axes.set_xticks(range(len(choices)), [shown(value) for value in choices])
        axes.tick_params(axis="x", labelrotation=30 if len(choices) > 3 else 0)
        axes.set_xlim(-0.6, len(choices) - 0.4)
        axes.grid(visible=False, axis="x")
    # Complete trials are to be told apart; of the others those in view are enough
    focus(axes, [t.value for t in (complete if len(complete) >= FEW else drew)], trials.objective)


def shown(value: Any) -> str:
    """Return a value as short as an axis needs it."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 16 else text[:15] + "…"
