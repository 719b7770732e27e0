"""Pictures of the search: its history or front, its learning curves, its rungs and its cost.

Optuna's own matplotlib plots were tried on synthetic sweeps and are not used: they draw complete
trials alone (9 of 60 under ASHA; ours show the 51 pruned ones, hollow), mark no winner, cannot be
drawn into a given axes, and set pyplot's style for the whole process. Their Pareto front names no
direction and draws three objectives in 3-D. See also :mod:`.space_pictures`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2vl.objective.schedule import softening
from c2vl.objective.settings import ContrastSettings
from sweeps.report.marks import BEST, COLOUR, Dot, dots, focus, label, legend, lines, ring, spread
from sweeps.report.svg import link
from sweeps.report.trials import Curve, Trial, Trials
from sweeps.search.trial_record import State
from sweeps.spec.objective import Objective
from sweeps.spec.rungs import rungs as planned_rungs

SHADES = (BEST, "#2f6fb5", "#5c9e6f", "#8a63a8", "#6b7280")
SHOWN: tuple[State, ...] = ("pruned", "failed", "complete")  # the last one on top
POINTS = 30  # of a learning curve
RUNGS = 8


def history(axes: Any, trials: Trials) -> None:
    """Draw each trial's objective, and the best so far."""
    objective = trials.objective
    seen = [trial for trial in trials.all if trial.values is not None]
    for outcome in SHOWN:
        points = [(t.number, t.value, t.number) for t in seen if t.outcome == outcome]
        dots(axes, outcome, points, label=outcome, zorder=3)
    if lost := [t.number for t in trials.of("failed") if t.values is None]:
        crosses = axes.scatter(lost, [0.015] * len(lost), marker="x", s=26, color=COLOUR["failed"],
                               transform=axes.get_xaxis_transform(), label="failed", zorder=3,
                               clip_on=False)  # fmt: skip
        link(crosses, lost)
    own = [trial for trial in trials.complete if trial.record.feasible]
    if own:
        best = np.maximum.accumulate([objective.sign * trial.value for trial in own])
        steps = [trial.number for trial in own] + [trials.all[-1].number]
        axes.step(steps, objective.sign * np.append(best, best[-1]), where="post", color=BEST,
                  lw=2, label="best so far")  # fmt: skip
    ring(axes, [(t.number, t.value, t.number) for t in trials.complete], trials.winner)
    focus(axes, [t.value for t in seen], objective)
    axes.set(xlabel="trial", ylabel=label(objective))
    legend(axes)


def front(axes: Any, trials: Trials, first: int = 0, second: int = 1) -> None:
    """Draw two objectives against each other, and the trials that no other beats in all."""
    objectives = trials.spec.objectives
    chosen = {trial.number for trial in trials.ranked}
    points = [(t.values[first], t.values[second], t.number) for t in trials.complete if t.values]
    dots(axes, "complete", [p for p in points if p[2] not in chosen], label="dominated")
    best = sorted(p for p in points if p[2] in chosen)
    dots(axes, "best", best, label="front", zorder=4, s=40)
    if len(objectives) == 2 and best:
        where = "post" if objectives[first].sign < 0 else "pre"
        x, y, _ = zip(*best, strict=True)
        axes.step(x, y, where=where, color=BEST, lw=1.2, alpha=0.7)
    ring(axes, points, trials.winner)
    axes.set(xlabel=label(objectives[first]), ylabel=label(objectives[second]))
    legend(axes)


def curves(axes: Any, trials: Trials, objective: Objective) -> None:
    """Draw the objective over the epochs, a line a trial."""
    found = [(trial, trial.curve(objective.metric)) for trial in trials.shown]
    for looks in (*SHOWN, "best"):
        own = [
            (trial.number, _thinned(curve))
            for trial, curve in found
            if curve and looks == ("best" if trial.number == trials.winner else trial.outcome)
        ]
        dots(axes, looks, [(*c[0], n) for n, c in own if len(c) == 1], s=14)
        style = {"lw": 2.6, "zorder": 5} if looks == "best" else {"lw": 1.1, "alpha": 0.75}
        lines(axes, [(n, c) for n, c in own if len(c) > 1], colors=COLOUR[looks], **style)
    axes.autoscale_view()
    focus(axes, [value for _, curve in found for _, value in curve], objective)
    axes.set(xlabel="epoch", ylabel=label(objective))


def _thinned(curve: Curve) -> Curve:
    places = np.unique(np.linspace(0, len(curve) - 1, POINTS).round().astype(int))
    return [curve[i] for i in places]


def rung_epochs(trials: Trials) -> list[int]:
    """Epochs at which trials were stopped, or might have been, and the last one; [] if too many."""
    pruner, last = trials.spec.pruner, max((t.epochs for t in trials.complete), default=0)
    found = {trial.epochs for trial in trials.of("pruned") if trial.epochs}
    if pruner.name in ("asha", "hyperband"):
        found |= set(planned_rungs(trials.spec, pruner.min_epochs, last))
    found |= {last} if last else set()
    return sorted(found) if 0 < len(found) <= RUNGS else []


def rungs(axes: Any, trials: Trials) -> None:
    """Draw what each trial was worth at each rung, and whether it went on."""
    objective, epochs = trials.objective, rung_epochs(trials)
    if not epochs:
        _survivors(axes, trials)
        return
    shown = {trial.number for trial in trials.shown}
    seen: list[Dot] = []
    labels = []
    for place, epoch in enumerate(epochs):
        stopped: list[Dot] = []
        went_on: list[Dot] = []
        for trial in trials.all:
            value = trial.at(objective.metric, epoch)
            if trial.epochs >= epoch and value is not None:
                end = trial.outcome == "pruned" and trial.epochs <= epoch
                x = place + 0.64 * spread(trial.number)
                (stopped if end else went_on).append((x, value, trial.number))
        dots(axes, "pruned", [dot for dot in stopped if dot[2] in shown], zorder=3)
        dots(axes, "complete", [dot for dot in went_on if dot[2] in shown], zorder=4)
        ring(axes, went_on, trials.winner)
        seen += stopped + went_on
        reached = f"epoch {epoch}\n{len(stopped) + len(went_on)} reached"
        labels.append(reached + ("" if epoch == epochs[-1] else f"\n{len(stopped)} stopped"))
    axes.set_xticks(range(len(epochs)), labels)
    axes.grid(visible=False, axis="x")
    focus(axes, [value for _, value, _ in seen], objective)
    axes.set(ylabel=label(objective), xlim=(-0.6, len(epochs) - 0.4))


def _survivors(axes: Any, trials: Trials) -> None:
    ends = np.sort([trial.epochs for trial in trials.all])
    if not len(ends):
        return
    epochs = np.arange(0, ends.max() + 1)
    alive = len(ends) - np.searchsorted(ends, epochs, side="left")
    axes.fill_between(epochs, alive, step="post", color=COLOUR["complete"], alpha=0.25, lw=0)
    axes.step(epochs, alive, where="post", color=COLOUR["complete"])
    axes.set(xlabel="epoch", ylabel="trials that reached it", ylim=(0, None))


def leading(trials: Trials) -> list[Trial]:
    """Return the winner, and the best of the others in the search: one a shade."""
    return sorted(trials.ranked, key=lambda one: one.number != trials.winner)[: len(SHADES)]


def schedules(axes: Any, trials: Trials) -> None:
    """Draw the softening degree over training of the winner and the best of the others."""
    progress = np.linspace(0, 1, 101)
    for rank, trial in enumerate(leading(trials)):
        objective = trial.training.experiment.objective
        alpha = [0.0] * len(progress)
        if isinstance(objective, ContrastSettings) and objective.targets != "hard":
            alpha = [softening(objective.schedule, float(p)) for p in progress]
        lines(axes, [(trial.number, list(zip(progress, alpha, strict=True)))], colors=SHADES[rank],
              linewidths=1.6 if rank else 3, zorder=len(SHADES) - rank + 2,
              label=f"trial {trial.number}: {trial.value:.3g}")  # fmt: skip
    axes.set(xlabel="progress of training", ylabel="softening α", xlim=(0, 1), ylim=(-0.03, 1.03))
    if trials.ranked:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=10,
                    handlelength=1.4, columnspacing=1.2)  # fmt: skip


def cost(axes: Any, hours: dict[str, float], saved: float, unit: str) -> None:
    """Draw what was spent on what: bars by outcome, and what pruning saved."""
    bars = [(name, value) for name, value in hours.items() if value]
    bars += [("saved by pruning", saved)] * (saved > 0)
    for place, (name, value) in enumerate(reversed(bars)):
        style: dict[str, Any] = {"color": COLOUR.get(name, "#8a63a8")}
        if name == "saved by pruning":
            style = {"facecolor": "none", "edgecolor": COLOUR["pruned"], "hatch": "///"}
        axes.barh(place, value, height=0.62, **style)
        axes.annotate(f"{value:.3g}", (value, place), xytext=(4, 0), textcoords="offset points",
                      va="center", color="#4b5563")  # fmt: skip
    axes.set_yticks(range(len(bars)), [name for name, _ in reversed(bars)])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=unit)
    axes.margins(x=0.12)
