"""Progress of long work: a bar on a terminal, lines in a log. The only module with Rich's bars."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is."""

_EVERY = 15.0  # seconds between lines of a log
_shown = False
_live: Bar | None = None


class Bar:
    """A progress bar with figures beside it and lines above it; in a log the lines alone.

    Args:
        total: steps in all; None where it is not known yet.
        stderr: draw on standard error, and remove the bar at the end.
        clock: show the time that has passed, or what is left.
    """

    def __init__(
        self,
        title: str,
        total: int | None = None,
        *,
        stderr: bool = False,
        clock: Literal["elapsed", "remaining"] = "remaining",
    ) -> None:
        from rich import progress
        from rich.console import Console

        self.console = Console(stderr=stderr)
        self.is_terminal = self.console.is_terminal
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn() if clock == "elapsed" else progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=stderr,
            disable=not self.is_terminal,
        )
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

    def show(self, done: int, total: int | None = None, figures: str = "") -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total, figures=figures)

    def say(self, text: str) -> None:
        """Print a line above the bar, never wrapped."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


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
            yield bar.show if bar.is_terminal else _lines(what, _to_log)
    finally:
        _shown = False


def _to_log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lines(what: str, say: Callable[[str], None]) -> Progress:
    began = said = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _EVERY:
            said = now
            rate = done / (now - began)
            left = (total - done) / rate if rate else math.inf
            say(f"{done} of {total} {what}, {rate:.3g} a second, {left:.0f} s left")

    return line
