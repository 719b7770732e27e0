"""Progress of long work: a bar on a terminal, lines in a log. The only module with Rich's bars."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is."""

_EVERY = 15.0  # seconds between lines of a log
_TITLE = 26  # columns, so that a line fits a terminal of 80
_shown = False
_live: Bar | None = None


class Bar:
    """A progress bar with figures beside it and lines above it; in a log the lines alone.

    Args:
        total: steps in all; None where it is not known yet.
        stderr: draw on standard error, and remove the bar at the end.
    """

    def __init__(self, title: str, total: int | None = None, *, stderr: bool = False) -> None:
        from rich import progress
        from rich.console import Console, RenderableType
        from rich.text import Text

        class WithTextBelow(progress.Progress):
            below = ""

            def get_renderables(self) -> Iterator[RenderableType]:
                yield from super().get_renderables()
                if self.below:
                    yield Text(self.below)

        self.console = Console(stderr=stderr)
        self.is_terminal = self.console.is_terminal
        self._bar = WithTextBelow(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=15),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=stderr,
            disable=not self.is_terminal,
        )
        title = title if len(title) <= _TITLE else f"…{title[1 - _TITLE :]}"
        self._task = self._bar.add_task(title, total=total, figures="")

    def __enter__(self) -> Bar:
        global _live
        _live = self
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        global _live
        _live = None
        self._bar.stop()

    def show(self, done: int, total: int | None = None, figures: str = "", below: str = "") -> None:
        """Move the bar; figures stand beside it, and others in lines of their own below it."""
        self._bar.below = below
        self._bar.update(self._task, completed=done, total=total, figures=figures)

    def say(self, text: str) -> None:
        """Print a line above the bar, never wrapped."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Rate:
    """How fast work goes, and how long the rest of it will take.

    Args:
        done: what was done before it began; where an earlier run got to.
    """

    def __init__(self, done: int = 0) -> None:
        self._first = self._since = time.monotonic(), done

    def per_second(self, done: int) -> float:
        """Return what is done in a second, 0 where that is not known yet."""
        now = time.monotonic()
        if self._since is self._first:
            self._since = now, done  # later calls leave out what preceded the first unit
            began, before = self._first
        else:
            began, before = self._since
        return max(0.0, done - before) / (now - began) if now > began else 0.0

    def left(self, done: int, total: int) -> str:
        """Return the time that is left in words; empty where there is none, or no telling."""
        rate = self.per_second(done)
        return f"{span(max(1.0, (total - done) / rate))} left" if rate and done < total else ""


def span(seconds: float) -> str:
    """Return a time in words: ``45 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


@contextmanager
def every_second(call: Callable[[], None]) -> Iterator[None]:
    """Call a function every second while the block runs, to show what others have done."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            call()

    thread = threading.Thread(target=watch, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def silent(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Yield a function that shows the progress of ``what`` (a plural noun) while the block runs.

    A log gets a line every 15 seconds, so short work leaves none; so does a terminal on which a bar
    is drawn already. Within a block of another ``progress`` nothing is shown.
    """
    global _shown
    if _shown:
        yield silent
        return
    _shown = True
    try:
        if _live is not None:
            yield _lines(what, _live.say)
            return
        with Bar(what, stderr=True) as bar:
            yield _moving(bar) if bar.is_terminal else _lines(what, _to_log)
    finally:
        _shown = False


def _moving(bar: Bar) -> Progress:
    rate = Rate()
    return lambda done, total: bar.show(done, total, rate.left(done, total))


def _to_log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lines(what: str, say: Callable[[str], None]) -> Progress:
    rate, said = Rate(), time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal said
        left = rate.left(done, total)
        if time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            say(f"{done} of {total} {what}" + (f", {left}" if left else ""))

    return line
