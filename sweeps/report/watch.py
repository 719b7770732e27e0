"""Shows a running sweep: a live table on a terminal, else a line for each change.

It reads only the study and the run folders, so it works alongside any driver.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import TrialState
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sweeps.planning.cost import rungs
from sweeps.report.status import counts
from sweeps.search.study import ENDED, StudyReader, reader
from sweeps.spec.lock import is_running
from sweeps.spec.reading import read_sweep
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import Job

EVERY_SECONDS = 2.0
ENDED_SHOWN = 5
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24


@dataclass(frozen=True)
class TrialNow:
    """A trial as it is now.

    Attributes:
        job: its training.
        outcome: how it ended, or "running", or "interrupted" if no driver runs the sweep.
        values: the objective by epoch.
        epoch: the last one.
    """

    job: Job
    outcome: str
    values: list[float]
    epoch: int


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
    """

    spec: SweepSettings
    trials: list[TrialNow]
    counts: dict[str, int]
    driven: bool
    best: tuple[str, float] | None
    left: float | None

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
            parts.append(f"about {_clock(self.left)} left")
        return ", ".join(parts)


def moment(spec: SweepSettings, source: StudyReader) -> Moment:
    """Look at a sweep."""
    driven = is_running(spec.folder)
    going = source.trials(TrialState.RUNNING)
    ended = source.trials(*ENDED)
    ended.sort(key=lambda trial: (trial.datetime_complete or trial.datetime_start, trial.number))
    seen = [
        _seen(spec, source.job(trial.number, trial.params), "running" if driven else "interrupted")
        for trial in going
    ]
    for trial in ended[-ENDED_SHOWN:]:
        job = source.job(trial.number, trial.params)
        seen.append(_seen(spec, job, ENDED[trial.state]))
    ranked = source.ranked()
    took = [
        (trial.datetime_complete - trial.datetime_start).total_seconds()
        for trial in ended
        if trial.datetime_complete and trial.datetime_start
    ]
    left = None
    if took:
        rest = spec.trials - len(ended)
        left = rest * sum(took) / len(took) / max(1, len(going))
    return Moment(
        spec,
        sorted(seen, key=lambda one: one.job.number),
        counts(spec, source, driven=driven),
        driven,
        (ranked[0][0].name, ranked[0][1]) if ranked else None,
        left,
    )


def _seen(spec: SweepSettings, job: Job, outcome: str) -> TrialNow:
    rows, metric = job.rows(), spec.objectives[0].metric
    values = [float(row[metric]) for row in rows if row.get(metric) is not None]
    return TrialNow(job, outcome, values, int(rows[-1]["epoch"]) if rows else 0)


def table(now: Moment) -> Table:
    """Return it as a table for a terminal."""
    metric = now.spec.objectives[0].metric
    marks = []
    if now.spec.pruner.name == "asha":
        marks = rungs(now.spec, now.spec.pruner.min_epochs, now.spec.max_epochs)
    shown = Table(title=now.spec.name, caption=now.line())
    for name in ("trial", "outcome", "epoch", *(["rung"] if marks else []), metric, ""):
        shown.add_column(name, overflow="fold")
    for one in now.trials:
        row = [one.job.name, one.outcome, f"{one.epoch}/{one.job.experiment.train.epochs}"]
        if marks:
            row.append(f"{sum(mark <= one.epoch for mark in marks)}/{len(marks)}")
        row.append(f"{one.values[-1]:.4f}" if one.values else "")
        shown.add_row(*row, sparkline(one.values))
    return shown


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Draw numbers as a line of bars, the last ``width`` of them; constant ones lie low."""
    shown = list(values)[-width:]
    finite = [value for value in shown if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    top = len(BARS) - 1
    return "".join(
        BARS[round((value - low) / span * top) if span else 0] if value in finite else " "
        for value in shown
    )


def follow(spec: SweepSettings, console: Console | None = None) -> None:
    """Show a sweep until its driver ends; return at once if none runs.

    Raises:
        UserError: it has no study yet.
    """
    console = console or Console()
    source, now = reader(spec), None
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while now is None or now.driven:
                time.sleep(EVERY_SECONDS if now else 0)
                now = moment(_again(spec), source)
                live.update(table(now), refresh=True)
    else:
        before = ""
        while now is None or now.driven:
            time.sleep(EVERY_SECONDS if now else 0)
            now = moment(_again(spec), source)
            if (changed := _without_clock(now)) != before:
                console.print(now.line(), markup=False, highlight=False, soft_wrap=True)
                before = changed
        if not before:
            console.print(table(now))
    console.print(f"{spec.name}: nothing runs it (any more)", markup=False, highlight=False)


def _again(spec: SweepSettings) -> SweepSettings:
    """Reload the settings: an extension may have added trials."""
    return read_sweep(spec.storage, spec.name)


def _without_clock(now: Moment) -> str:
    return now.line().partition(", about ")[0]


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
