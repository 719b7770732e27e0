"""Shows a running sweep: a live table on a terminal, else a line for each change.

It reads only the study and the run folders, so it works alongside any driver.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from c2vl.support.errors import UserError
from c2vl.support.progress import span
from c2vl.support.remote import Location
from sweeps.report.status import counts, nodes_wanted
from sweeps.report.trials import Trial, read_trial
from sweeps.search.study import ENDED, StudyReader, name_of, reader
from sweeps.search.trial_record import TrialRecord
from sweeps.spec.lock import is_running, refresh_run
from sweeps.spec.reading import read_sweep
from sweeps.spec.rungs import rungs_of_all
from sweeps.spec.sweep import SweepSettings

EVERY_SECONDS = 2.0
REQUESTS_SECONDS = 10.0  # of a sweep at a URL
ENDED_SHOWN = 5
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24
START_SECONDS = 20  # from `run` to the study on disk, on a busy machine


@dataclass(frozen=True)
class Moment:
    """A sweep as it is now.

    Attributes:
        spec: the sweep.
        trials: those that run, and the last that ended.
        counts: by :data:`sweeps.report.status.COUNTS`.
        driven: whether a process drives it.
        best: name and value of the best trial, or None.
        left: seconds to the end of the search, or None where nothing has ended yet.
        nodes_wanted: nodes that trials wait for in vain, in words.
    """

    spec: SweepSettings
    trials: list[Trial]
    counts: dict[str, int]
    driven: bool
    best: tuple[str, float] | None
    left: float | None
    nodes_wanted: str = ""

    def line(self) -> str:
        """Return all of it in one line."""
        number = self.counts
        ended = sum(number[key] for key in ("complete", "pruned", "failed"))
        parts = [f"{ended}/{number['asked']} ended"]
        parts += [f"{number[key]} {key}" for key in ("running", "complete", "pruned", "failed")]
        if number["interrupted"]:
            parts.append(f"{number['interrupted']} interrupted")
        if self.best is not None:
            metric = self.spec.objectives[0].metric
            parts.append(f"best {metric} {self.best[1]:.4f} ({self.best[0]})")
        if self.left is not None and self.driven:
            parts.append(f"about {span(self.left)} left")
        if self.nodes_wanted:
            parts.append(self.nodes_wanted)
        return ", ".join(parts)


def moment(spec: SweepSettings, study: StudyReader) -> Moment:
    """Look at a sweep."""
    driven, study = is_running(spec.folder), study.as_it_is_now()
    going, ended = study.trials("running"), study.trials(*ENDED)
    ended.sort(key=lambda trial: (trial.ended or trial.began, trial.number))
    shown = sorted([*going, *ended[-ENDED_SHOWN:]], key=lambda trial: trial.number)
    ranked = study.ranking()
    took = [
        (trial.ended - trial.began).total_seconds()
        for trial in ended
        if trial.ended and trial.began
    ]
    left = None
    if took:
        rest = spec.trials - len(ended)
        left = rest * sum(took) / len(took) / max(1, len(going))
    return Moment(
        spec,
        [_read(spec, trial) for trial in shown],
        counts(spec, study, driven=driven),
        driven,
        (name_of(spec, ranked[0].number), ranked[0].values[0]) if ranked else None,
        left,
        nodes_wanted(spec) if driven else "",
    )


def _read(spec: SweepSettings, trial: TrialRecord) -> Trial:
    refresh_run(spec.folder, spec.folder.trials / name_of(spec, trial.number))
    return read_trial(spec, trial, (spec.objectives[0].metric,))


def table(now: Moment) -> Table:
    """Return it as a table for a terminal."""
    metric = now.spec.objectives[0].metric
    marks = rungs_of_all(now.spec)
    shown = Table(title=now.spec.name, caption=now.line())
    for name in ("trial", "outcome", "epoch", *(["rung"] if marks else []), metric, ""):
        shown.add_column(name, overflow="fold")
    for one in now.trials:
        outcome = "interrupted" if one.outcome == "running" and not now.driven else one.outcome
        row = [one.name, outcome, f"{one.epochs}/{one.training.experiment.train.epochs}"]
        if marks:
            row.append(f"{sum(mark <= one.epochs for mark in marks)}/{len(marks)}")
        values = [value for _, value in one.curve(metric)]
        row.append(f"{values[-1]:.4f}" if values else "")
        shown.add_row(*row, sparkline(values))
    return shown


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Draw numbers as a line of bars, the last ``width`` of them; constant ones lie low."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, span = min(shown), max(shown) - min(shown)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / span * top) if span else 0] for value in shown)


def begun(storage: Location, name: str, patience: float = START_SECONDS) -> SweepSettings:
    """Return a sweep's settings; wait for one that has only just been started.

    Raises:
        UserError: there is no such sweep after ``patience`` seconds either.
    """
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            spec = read_sweep(storage, name)
            reader(spec)
        except UserError as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                click.echo(f"{error}; waits {patience:.0f} s for it to begin", err=True)
                told = True
            time.sleep(0.5)
        else:
            return spec


def follow(spec: SweepSettings, console: Console | None = None) -> None:
    """Show a sweep until its driver ends; return at once if none runs.

    Raises:
        UserError: it has no study yet.
    """
    console = console or Console()
    study, now = reader(spec), None
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while now is None or now.driven:
                time.sleep(_pause(spec) if now else 0)
                now = moment(_again(spec), study)
                live.update(table(now), refresh=True)
    else:
        before = ""
        while now is None or now.driven:
            time.sleep(_pause(spec) if now else 0)
            now = moment(_again(spec), study)
            if (changed := _without_clock(now)) != before:
                console.print(now.line(), markup=False, highlight=False, soft_wrap=True)
                before = changed
        if not before:
            console.print(table(now))
    console.print(f"{spec.name}: nothing runs it (any more)", markup=False, highlight=False)


def _again(spec: SweepSettings) -> SweepSettings:
    """Reload the settings: an extension may have added trials."""
    return read_sweep(spec.storage, spec.name)


def _pause(spec: SweepSettings) -> float:
    return EVERY_SECONDS if spec.folder.url is None else REQUESTS_SECONDS


def _without_clock(now: Moment) -> str:
    return now.line().partition(", about ")[0]
