"""Shows a sweep's progress: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from c2vl.support.progress import Bar, span
from sweeps.spec.objective import Objective
from sweeps.spec.training import End, Listener, Row, Training

QUIET_SECONDS = 60.0
UNBOUND = 200  # columns
_SHOWN = 4  # trainings below the bar


class Board(Listener):
    """Shows trainings done, running, pruned and failed, the best so far, and the time left.

    Args:
        title: what is running.
        total: trainings in all.
        counts: how many had which outcome before this start.
        objective: what "best" means.
        best: the best value before this start.
        rungs: epochs at which trainings are compared.
    """

    def __init__(
        self,
        title: str,
        total: int,
        counts: Counter[str],
        objective: Objective,
        best: float | None = None,
        rungs: Sequence[int] = (),
    ) -> None:
        self._counts = Counter({k: v for k, v in counts.items() if k != "running"})
        self._objective, self._best, self._total = objective, best, total
        self._running: dict[str, int] = {}
        self._epochs: dict[str, int] = {}  # of each training in all
        self._rungs = rungs
        self._seconds: list[float] = []
        self._began: dict[str, float] = {}
        self._width = 1
        self._spoken = time.monotonic()
        self._bar = Bar(title, total)

    def __enter__(self) -> Board:
        self._bar.__enter__()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def started(self, training: Training, attempt: int) -> None:
        """A training runs."""
        self._running[training.name] = 0
        self._epochs[training.name] = training.experiment.train.epochs
        self._began.setdefault(training.name, time.monotonic())
        self._width = max(self._width, len(self._running))
        if attempt > 1:
            self.say(f"{training.name}: lost, continues from its checkpoint (attempt {attempt})")
        self._show()

    def reported(self, training: Training, row: Row) -> None:
        """A training has finished an epoch."""
        self._running[training.name] = row["epoch"]
        self._show()
        if not self._bar.is_terminal and time.monotonic() - self._spoken > QUIET_SECONDS:
            epochs = ", ".join(f"{name} epoch {epoch}" for name, epoch in self._running.items())
            self.say(f"{self.line()}  [{epochs}]")

    def ended(self, training: Training, end: End) -> None:
        """A training has ended."""
        self._running.pop(training.name, None)
        repeat = training.kind == "repeat"  # a part of a trial that has been counted
        began = self._began.pop(training.name, None)
        for line in end.warnings.splitlines():
            self.say(f"{training.name}: {line}")
        if end.outcome == "interrupted":
            return
        if began is not None and not repeat:
            self._seconds.append(time.monotonic() - began)
        self._counts[end.outcome] += not repeat
        value = self._objective.value(training.rows()) if end.outcome == "complete" else None
        if value is not None and training.kind == "trial":  # a reference may have seen labels
            self._best = value if self._objective.better(value, self._best) else self._best
        drawn = "  ".join(f"{k.split('.')[-1]}={_short(v)}" for k, v in training.values.items())
        figure = f" {self._objective.metric} {value:.4f}" if value is not None else ""
        self.say(f"{training.name}: {end.outcome}{figure}  {drawn}")
        if end.outcome == "failed":
            lines = [line for line in end.error.strip().splitlines() if line.strip()]
            self.say(f"{training.name}: {lines[-1] if lines else 'no reason given'}")
        if not self._bar.is_terminal:
            self.say(self.line())
        self._show()

    def line(self) -> str:
        """All figures in one line."""
        done = sum(self._counts.values())
        parts = [f"{done}/{self._total} ended", f"{len(self._running)} running"]
        parts += [f"{self._counts[key]} {key}" for key in ("complete", "pruned", "failed")]
        if self._best is not None:
            parts.append(f"best {self._objective.metric} {self._best:.4f}")
        return ", ".join([*parts, *self._left()])

    def _left(self) -> list[str]:
        """Say how long the rest will take, once anything has ended."""
        done = sum(self._counts.values())
        if not self._seconds or done >= self._total:
            return []
        mean = sum(self._seconds) / len(self._seconds)
        under_way = sum(epoch / self._epochs[name] for name, epoch in self._running.items())
        rest = max(self._total - done - under_way, 0.0)
        return [f"about {span(mean * rest / self._width)} left"]

    def beside(self) -> str:
        """What stands beside the bar, in 40 columns: best and time left; below it, who is where."""
        best = [f"best {self._best:.4f}"] if self._best is not None else []
        lines = [", ".join([*best, *self._left()])]
        for name, epoch in list(self._running.items())[:_SHOWN]:
            number = f"{name[-12:]} epoch {epoch}/{self._epochs[name]}"
            passed = sum(rung <= epoch for rung in self._rungs)
            lines.append(number + (f" rung {passed}/{len(self._rungs)}" if self._rungs else ""))
        if len(self._running) > _SHOWN:
            lines.append(f"and {len(self._running) - _SHOWN} more")
        return "\n".join(line for line in lines if line)

    def say(self, text: str) -> None:
        """Print lines above the bar."""
        self._bar.say(text)
        self._spoken = time.monotonic()

    def _show(self) -> None:
        done = sum(self._counts.values())
        self._bar.show(done, self._total, self.beside())


def show_table(rows: list[dict[str, str]], title: str) -> None:
    """Print rows with the same keys as a table; nothing where there are none."""
    if not rows:
        return
    shown = Table(title=title)
    for name in rows[0]:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*row.values())
    console = Console()
    if not console.is_terminal:  # a log or a pipe has no edge at which to break lines
        console.width = max(console.width, UNBOUND)
    console.print(shown)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
