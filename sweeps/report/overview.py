"""One picture of a sweep, for a README or a message."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from sweeps.choosing.finals import Final
from sweeps.report import search_pictures as figures
from sweeps.report import space_pictures as landscape
from sweeps.report.svg import STYLE
from sweeps.report.trials import Trials


def draw_overview(path: Path, trials: Trials, final: Final | None) -> None:
    """Write history (or front), rungs, learning curves, schedules and draws as a PNG."""
    spec = trials.spec
    winner = winner_number(trials, final)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 9), layout="constrained")
        title = f"{spec.name}: {len(trials.all)} trials" + (f" on {final.data}" if final else "")
        figure.suptitle(title, fontsize=15)
        axes = figure.subplot_mosaic(
            [["first", "rungs", "curves"], ["parallel", "parallel", "end"]]
        )
        if len(spec.objectives) > 1:
            figures.front(axes["first"], trials, winner)
            axes["first"].set_title("Front")
        else:
            figures.history(axes["first"], trials, winner)
            axes["first"].set_title("History")
        figures.rungs(axes["rungs"], trials, winner)
        axes["rungs"].set_title("Who was stopped where")
        figures.curves(axes["curves"], trials, winner, spec.objectives[0])
        axes["curves"].set_title("Learning curves (grey: pruned)")
        landscape.parallel(axes["parallel"], trials, list(spec.space), winner)
        axes["parallel"].set_title("What was drawn (orange: winner)")
        figures.schedules(axes["end"], trials, winner)
        axes["end"].set_title("Softening of the winner and the next best")
        figure.savefig(path, dpi=100, metadata={"Software": None})


def winner_number(trials: Trials, final: Final | None) -> int | None:
    """The winning trial; while nothing is chosen, the best one so far."""
    if final is not None:
        return final.trial
    return trials.ranked[0].number if trials.ranked else None
