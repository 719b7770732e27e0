"""Pictures of the choice: candidates over seeds and rounds, and scores that need no labels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.report.marks import BEST, COLOUR, dots, label, lines, ring
from sweeps.report.svg import link
from sweeps.report.trials import Trials
from sweeps.report.winner import CandidateSummary
from sweeps.search.label_free_ranking import Agreement
from sweeps.spec.objective import Objective


def seeds(axes: Any, candidates: Sequence[CandidateSummary], objective: Objective) -> None:
    """Draw each candidate's value by seed, its mean and interval; the winner in orange."""
    found = []
    for place, one in enumerate(reversed(candidates)):
        colour = BEST if one.winner else COLOUR["complete"]
        values = list(one.by_seed.values())
        marks = axes.scatter(values, [place] * len(values), s=30, color=colour, alpha=0.6, zorder=3)
        link(marks, [one.number] * len(values))
        if one.ends is not None:
            reach = [[abs(end - one.mean)] for end in one.ends]
            axes.errorbar(one.mean, place, xerr=reach, color=colour, capsize=5, lw=1.6, zorder=2)
        axes.scatter([one.mean], [place], marker="|", s=320, linewidth=2.4, color=colour, zorder=4)
        found += values
        if one.winner and one.ends:
            found += one.ends
    margin = 0.15 * (max(found) - min(found)) or 0.01
    axes.set_xlim(min(found) - margin, max(found) + margin)  # of two seeds the interval is vast
    axes.set_yticks(range(len(candidates)), [one.name for one in reversed(candidates)])
    axes.set(xlabel=label(objective), ylim=(-0.6, len(candidates) - 0.4))
    axes.grid(visible=False, axis="y")


def rounds(
    axes: Any, candidate_values: Mapping[str, Sequence[float]], winner: int, objective: Objective
) -> None:
    """Draw each candidate's mean after one seed, two ...; a line ends where it was left behind.

    Args:
        candidate_values: each candidate's values by seed, under the number of its trial.
        winner: number of the winning trial.
        objective: what the candidates are ranked by.
    """
    longest = max(map(len, candidate_values.values()))
    ends: dict[int, list[tuple[float, int]]] = {}
    for trial, values in candidate_values.items():
        number, looks = int(trial), "best" if int(trial) == winner else "complete"
        means = [statistics.mean(values[:count]) for count in range(1, len(values) + 1)]
        lines(axes, [(number, list(enumerate(means, start=1)))], colors=COLOUR[looks], zorder=3,
              lw=2.6 if looks == "best" else 1.4)  # fmt: skip
        last = (len(values), means[-1], number)
        dots(axes, looks if len(values) == longest else "pruned", [last], zorder=5)
        ends.setdefault(len(values), []).append((means[-1], number))
    axes.autoscale_view()
    axes.margins(y=0.1)
    low, high = axes.get_ylim()
    for count, found in ends.items():
        heights = apart([mean for mean, _ in found], 0.055 * (high - low))
        for (_, number), height in zip(found, heights, strict=True):
            axes.annotate(f"{number}", (count + 0.04, height), va="center", color="#4b5563")
    names = []
    for count in range(1, longest + 1):
        here = sum(len(values) >= count for values in candidate_values.values())
        left = len(ends.get(count, [])) if count < longest else 0
        text = f"{count} seed{'s' if count > 1 else ''}\n{here} candidate{'s' if here > 1 else ''}"
        names.append(text + (f"\n{left} left behind" if left else ""))
    axes.set_xticks(range(1, longest + 1), names)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel=f"mean {label(objective)}", xlim=(0.8, longest + 0.35))


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move what lies closer than ``gap`` upwards, so that words at these heights can be read."""
    moved, last = list(heights), -math.inf
    for place in sorted(range(len(heights)), key=heights.__getitem__):
        moved[place] = last = max(heights[place], last + gap)
    return moved


def agreement(axes: Any, one: Agreement, trials: Trials) -> None:
    """Draw a score that needs no labels against one with labels: a dot a complete trial."""
    points = []
    for trial in trials.complete:
        curves = [trial.curve(metric) for metric in (one.score, one.labelled)]
        if all(curves):
            points.append((curves[0][-1][1], curves[1][-1][1], trial.number))
    dots(axes, "complete", points)
    ring(axes, points, trials.winner)
    for x, y, number in points:
        if number == one.chosen:
            axes.scatter([x], [y], marker="D", s=70, facecolor="none", edgecolor="#1f2937",
                         zorder=8)  # fmt: skip
    axes.set(xlabel=f"{one.score} ({'higher' if one.sign > 0 else 'lower'} is better)")
    axes.set(ylabel=one.labelled)
