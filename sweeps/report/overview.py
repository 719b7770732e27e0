"""One picture of a sweep, for a README or a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sweeps.report import search_pictures
from sweeps.report.parallel import parallel
from sweeps.report.svg import STYLE
from sweeps.report.trials import Trials

LAYOUT: list[Any] = [["first", "rungs", "curves"], ["parallel", "parallel", "schedules"]]
TITLES = {
    "rungs": "Who was stopped where",
    "curves": "Learning curves (grey: pruned)",
    "parallel": "What was drawn (orange: winner)",
    "schedules": "Softening of the winner and the next best",
}


def draw_overview(path: Path, trials: Trials) -> None:
    """Write history (or front), rungs, learning curves, schedules and draws as a PNG."""
    spec = trials.spec
    several = len(spec.objectives) > 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 9), layout="constrained")
        data = f" on {trials.final.data}" if trials.final else ""
        figure.suptitle(f"{spec.name}: {len(trials.all)} trials{data}", fontsize=15)
        axes = figure.subplot_mosaic(LAYOUT)
        first = search_pictures.front if several else search_pictures.history
        first(axes["first"], trials)
        search_pictures.rungs(axes["rungs"], trials)
        search_pictures.curves(axes["curves"], trials, trials.objective)
        parallel(axes["parallel"], trials, list(spec.space))
        search_pictures.schedules(axes["schedules"], trials)
        for name, title in {"first": "Front" if several else "History", **TITLES}.items():
            axes[name].set_title(title)
        figure.savefig(path, dpi=100, metadata={"Software": None})
