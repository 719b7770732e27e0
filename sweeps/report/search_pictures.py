"""Pictures of the search itself: its history, its front, its curves, and who was stopped where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection

from c2vl.objective.schedule import softening
from c2vl.training.figures import describe
from sweeps.planning.cost import rungs as planned_rungs
from sweeps.report.svg import DOTS, LINES, link
from sweeps.report.trials import Curve, Trial, Trials, scored, sign
from sweeps.spec.objective import Objective
from sweeps.spec.training_job import Outcome

COLOUR: dict[str, str] = {"complete": "#2f6fb5", "pruned": "#a3adba", "failed": "#c8553d"}
BEST = "#e08e1b"
SHADES = ("#e08e1b", "#2f6fb5", "#5c9e6f", "#8a63a8", "#6b7280")
SHOWN: tuple[Outcome, ...] = ("pruned", "failed", "complete")  # the last one on top
TOP = 5
Dot = tuple[float, float, int]  # x, y, number of the trial
POINTS = 40  # of a learning curve
RUNGS = 8


def dots(axes: Any, looks: str, points: Sequence[Dot], **style: Any) -> None:
    """Draw one dot a trial: x, y, its number."""
    if points:
        x, y, numbers = zip(*points, strict=True)
        known = {"color": COLOUR.get(looks, BEST), "s": 22 if len(points) < 300 else 10}
        drawn = axes.scatter(x, y, **{**known, **style})
        drawn.set_urls([None, None])  # drawn as one marker, those that fall off would be left out
        link(drawn, DOTS, looks, numbers)


def ring(axes: Any, x: float, y: float) -> None:
    """Mark the winner."""
    axes.scatter([x], [y], s=110, facecolor="none", edgecolor=BEST, linewidth=2, zorder=9)


def focus(axes: Any, values: Iterable[float], objective: Objective) -> None:
    """Let the values that matter fill the axis: a few very bad ones fall off its bad end."""
    found = np.array(sorted(values))
    if len(found) < 2:
        return
    best = found[-1] if sign(objective) > 0 else found[0]
    usual = np.percentile(np.abs(found - best), 80)
    kept = found[np.abs(found - best) <= max(4 * usual, 1e-12)]
    low, high = float(kept.min()), float(kept.max())
    margin = 0.06 * (high - low or abs(high) or 1.0)
    if len(kept) < len(found):
        axes.annotate(
            f"{len(found) - len(kept)} further off",
            (1, 0 if sign(objective) > 0 else 1),
            xycoords="axes fraction",
            ha="right",
            va="bottom" if sign(objective) > 0 else "top",
            color="#6b7280",
        )
    axes.set_ylim(low - margin, high + margin)


def history(axes: Any, trials: Trials, winner: int | None) -> None:
    """Draw each trial's objective, and the best so far."""
    objective = trials.spec.objectives[0]
    seen = [trial for trial in trials.all if trial.values is not None]
    for outcome in SHOWN:
        own = [t for t in seen if t.outcome == outcome]
        points = [(t.number, t.value, t.number) for t in own]
        style = {"facecolor": "white"} if outcome == "pruned" else {}
        dots(axes, outcome, points, label=outcome, zorder=3, edgecolor=COLOUR[outcome], **style)
    lost = [t.number for t in trials.of("failed") if t.values is None]
    if lost:
        floor = axes.get_xaxis_transform()
        marks = axes.scatter(lost, [0.015] * len(lost), marker="x", s=26, color=COLOUR["failed"],
                             transform=floor, label="failed", zorder=3, clip_on=False)  # fmt: skip
        link(marks, DOTS, "failed cross", lost)
    best: list[tuple[int, float]] = []
    for trial in trials.complete:
        if trial.number in trials.infeasible:
            continue
        value = scored([objective], trial)[0]
        best.append((trial.number, max(value, best[-1][1] if best else value)))
    if best:
        best.append((max(trials.all[-1].number, best[-1][0]), best[-1][1]))
        steps = [(number, sign(objective) * value) for number, value in best]
        axes.step(*zip(*steps, strict=True), where="post", color=BEST, lw=2, label="best so far")
    _ring_winner(axes, trials, winner, lambda t: (t.number, t.value))
    focus(axes, [t.value for t in seen], objective)
    axes.set(xlabel="trial", ylabel=label(objective))
    _legend(axes)


def _ring_winner(axes: Any, trials: Trials, winner: int | None, place: Any) -> None:
    for trial in trials.complete:
        if trial.number == winner:
            ring(axes, *place(trial))


def front(axes: Any, trials: Trials, winner: int | None, first: int = 0, second: int = 1) -> None:
    """Draw two objectives against each other, and the trials that no other beats in all."""
    objectives = trials.spec.objectives
    chosen = {trial.number for trial in trials.ranked}
    points = [(t.values[first], t.values[second], t.number) for t in trials.complete if t.values]
    dots(axes, "complete", [p for p in points if p[2] not in chosen], label="dominated")
    best = sorted(p for p in points if p[2] in chosen)
    dots(axes, "best", best, label="front", zorder=4, s=40)
    if len(objectives) == 2 and best:
        where = "post" if sign(objectives[first]) < 0 else "pre"
        x, y = [p[0] for p in best], [p[1] for p in best]
        axes.step(x, y, where=where, color=BEST, lw=1.2, alpha=0.7)
    _ring_winner(axes, trials, winner, lambda t: (t.values[first], t.values[second]))
    axes.set(xlabel=label(objectives[first]), ylabel=label(objectives[second]))
    _legend(axes)


def label(objective: Objective) -> str:
    """Name an objective on an axis."""
    unit = describe(objective.metric).unit
    better = "higher" if sign(objective) > 0 else "lower"
    return f"{objective.metric} ({f'{unit}, ' if unit else ''}{better} is better)"


def curves(axes: Any, trials: Trials, winner: int | None, objective: Objective) -> None:
    """Draw the objective over the epochs, a line a trial."""
    seen: list[float] = []
    for outcome in SHOWN:
        own = [(t, t.curve(objective.metric)) for t in trials.of(outcome) if t.number != winner]
        seen += _lines(axes, outcome, own, lw=1.1, alpha=0.75)
    best = [(t, t.curve(objective.metric)) for t in trials.all if t.number == winner]
    seen += _lines(axes, "best", best, lw=2.6, zorder=5)
    axes.autoscale_view()
    focus(axes, seen, objective)
    axes.set(xlabel="epoch", ylabel=label(objective))


def _lines(axes: Any, looks: str, own: list[tuple[Trial, Curve]], **style: Any) -> list[float]:
    drawn = [(trial, _thinned(curve)) for trial, curve in own if curve]
    single = [(*curve[0], trial.number) for trial, curve in drawn if len(curve) == 1]
    dots(axes, looks, single, s=14)
    drawn = [(trial, curve) for trial, curve in drawn if len(curve) > 1]
    if drawn:
        colour = COLOUR.get(looks, BEST)
        lines = LineCollection([curve for _, curve in drawn], colors=colour, **style)
        link(lines, LINES, looks, [trial.number for trial, _ in drawn])
        axes.add_collection(lines)
    return [value for _, curve in own for _, value in curve]


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


def rungs(axes: Any, trials: Trials, winner: int | None) -> None:
    """Draw what each trial was worth at each rung, and whether it went on."""
    objective, epochs = trials.spec.objectives[0], rung_epochs(trials)
    if not epochs:
        _survivors(axes, trials)
        return
    seen: list[float] = []
    labels = []
    for place, epoch in enumerate(epochs):
        stopped: list[Dot] = []
        went_on: list[Dot] = []
        for trial in trials.all:
            so_far = [value for at, value in trial.curve(objective.metric) if at <= epoch]
            if trial.epochs < epoch or not so_far:
                continue
            x = place + 0.32 * (2 * spread(trial.number) - 1)
            end = trial.outcome == "pruned" and trial.epochs <= epoch
            (stopped if end else went_on).append((x, so_far[-1], trial.number))
            seen.append(so_far[-1])
        dots(axes, "pruned", stopped, facecolor="white", edgecolor=COLOUR["pruned"], zorder=3)
        dots(axes, "complete", went_on, zorder=4)
        for x, y, number in went_on:
            if number == winner:
                ring(axes, x, y)
        here = len(stopped) + len(went_on)
        last = place == len(epochs) - 1
        labels.append(
            f"epoch {epoch}\n{here} reached" + ("" if last else f"\n{len(stopped)} stopped")
        )
    axes.set_xticks(range(len(epochs)), labels)
    axes.grid(visible=False, axis="x")
    focus(axes, seen, objective)
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


def spread(number: int) -> float:
    """A place in 0..1 that follows from the number alone, and neighbours lie apart."""
    return (number * 0.618033988749895) % 1


def leading(trials: Trials, winner: int | None) -> list[Trial]:
    """The winner, and the best of the others in the search: a few in all."""
    first = [trial for trial in trials.ranked if trial.number == winner]
    return [*first, *(trial for trial in trials.ranked if trial.number != winner)][:TOP]


def schedules(axes: Any, trials: Trials, winner: int | None) -> None:
    """Draw the softening degree over training of the winner and the best of the others."""
    progress = np.linspace(0, 1, 101)
    for rank, trial in enumerate(leading(trials, winner)):
        objective = trial.job.experiment.objective
        alpha = [softening(objective.schedule, float(p)) for p in progress]
        if objective.targets == "hard" or objective.supervised:
            alpha = [0.0] * len(progress)
        drawn = LineCollection([list(zip(progress, alpha, strict=True))], colors=SHADES[rank])
        drawn.set(linewidth=3 if rank == 0 else 1.6, zorder=TOP - rank + 2)
        drawn.set_label(f"trial {trial.number}: {trial.value:.3g}")
        link(drawn, LINES, "", [trial.number])
        axes.add_collection(drawn)
    axes.set(xlabel="progress of training", ylabel="softening α", xlim=(0, 1), ylim=(-0.03, 1.03))
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": 3}
    if trials.ranked:
        axes.legend(fontsize=10, handlelength=1.4, columnspacing=1.2, **below)


def cost(axes: Any, hours: dict[str, float], saved: float, unit: str) -> None:
    """Draw what was spent on what: bars by outcome, and what pruning saved."""
    names = [name for name, value in hours.items() if value] + (["saved by pruning"] * (saved > 0))
    for place, name in enumerate(reversed(names)):
        value = hours.get(name, saved)
        style: dict[str, Any] = {"color": COLOUR.get(name, "#8a63a8")}
        if name == "saved by pruning":
            style = {"facecolor": "none", "edgecolor": COLOUR["pruned"], "hatch": "///"}
        axes.barh(place, value, height=0.62, **style)
        axes.annotate(f"{value:.3g}", (value, place), xytext=(4, 0), textcoords="offset points",
                      va="center", color="#4b5563")  # fmt: skip
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=unit)
    axes.margins(x=0.12)


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=10)
