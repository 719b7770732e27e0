"""Pictures of the choice: candidates over seeds and rounds, and scores that need no labels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.collections import LineCollection

from sweeps.choosing.finals import Final
from sweeps.report.search_pictures import BEST, COLOUR, dots, label, ring
from sweeps.report.svg import DOTS, LINES, link
from sweeps.report.trials import Trials
from sweeps.report.winner import Judged
from sweeps.search.label_free_ranking import Agreement
from sweeps.spec.sweep import SweepSettings


def seeds(axes: Any, judged: Sequence[Judged], spec: SweepSettings) -> None:
    """Draw each candidate's value by seed, its mean and interval; the winner in orange."""
    for place, one in enumerate(reversed(judged)):
        colour = BEST if one.winner else COLOUR["complete"]
        values = list(one.by_seed.values())
        marks = axes.scatter(values, [place] * len(values), s=30, color=colour, alpha=0.6, zorder=3)
        link(marks, DOTS, "", [one.number] * len(values))
        if one.half is not None:
            axes.errorbar(one.mean, place, xerr=one.half, color=colour, capsize=5, lw=1.6, zorder=2)
        axes.scatter([one.mean], [place], marker="|", s=320, linewidth=2.4, color=colour, zorder=4)
    found = [value for one in judged for value in one.by_seed.values()]
    found += [
        one.mean + side * one.half for one in judged for side in (-1, 1) if one.winner and one.half
    ]
    margin = 0.15 * (max(found) - min(found)) or 0.01
    axes.set_xlim(min(found) - margin, max(found) + margin)  # of two seeds the interval is vast
    axes.set_yticks(range(len(judged)), [one.name for one in reversed(judged)])
    axes.set(xlabel=label(spec.objectives[0]), ylim=(-0.6, len(judged) - 0.4))
    axes.grid(visible=False, axis="y")


def rounds(axes: Any, final: Final, spec: SweepSettings) -> None:
    """Draw each candidate's mean after one seed, two ...; a line ends where it was left behind."""
    ends: dict[int, list[tuple[float, int]]] = {}
    for trial, values in final.judged.items():
        means = [statistics.mean(values[:seeds]) for seeds in range(1, len(values) + 1)]
        ends.setdefault(len(values), []).append((means[-1], int(trial)))
        won = int(trial) == final.trial
        line = LineCollection([list(enumerate(means, start=1))])
        line.set(linewidth=2.6 if won else 1.4, color=BEST if won else COLOUR["complete"], zorder=3)
        link(line, LINES, "best" if won else "complete", [int(trial)])
        axes.add_collection(line)
    longest = max(ends)
    axes.autoscale_view()
    axes.margins(y=0.1)
    low, high = axes.get_ylim()
    for count, found in ends.items():
        heights = apart([mean for mean, _ in found], 0.055 * (high - low))
        for (mean, number), height in zip(found, heights, strict=True):
            looks = "best" if number == final.trial else "complete"
            if count < longest:
                dots(axes, "pruned", [(count, mean, number)], facecolor="white", zorder=5)
            else:
                dots(axes, looks, [(count, mean, number)], zorder=5)
            axes.annotate(f"{number}", (count + 0.04, height), va="center", color="#4b5563")
    names = []
    for seeds in range(1, longest + 1):
        here = sum(len(found) for count, found in ends.items() if count >= seeds)
        left = len(ends.get(seeds, [])) if seeds < longest else 0
        text = f"{seeds} seed{'s' if seeds > 1 else ''}\n{here} candidate{'s' if here > 1 else ''}"
        names.append(text + (f"\n{left} left behind" if left else ""))
    axes.set_xticks(range(1, longest + 1), names)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel=f"mean {label(spec.objectives[0])}", xlim=(0.8, longest + 0.35))


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move what lies closer than ``gap`` upwards, so that words at these heights can be read."""
    moved, last = list(heights), -math.inf
    for place in sorted(range(len(heights)), key=heights.__getitem__):
        moved[place] = last = max(heights[place], last + gap)
    return moved


def agreement(axes: Any, one: Agreement, trials: Trials, winner: int | None) -> None:
    """Draw a score that needs no labels against one with labels: a dot a complete trial."""
    points = []
    for trial in trials.complete:
        pair = [trial.curve(metric) for metric in (one.score, one.labelled)]
        if all(pair):
            points.append((pair[0][-1][1], pair[1][-1][1], trial.number))
    dots(axes, "complete", points)
    for x, y, number in points:
        if number == winner:
            ring(axes, x, y)
        if number == one.chosen:
            axes.scatter(
                [x], [y], marker="D", s=70, facecolor="none", edgecolor="#1f2937", zorder=8
            )
    axes.set(xlabel=f"{one.score} ({'higher' if one.sign > 0 else 'lower'} is better)")
    axes.set(ylabel=one.labelled)
