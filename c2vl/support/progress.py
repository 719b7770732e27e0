"""Progress of long work: a bar on a terminal, a line now and then elsewhere; on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is."""

_EVERY = 15.0  # seconds between lines of a log
_shown = False


def silent(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Yield what shows the progress of ``what`` (a plural noun) while the block runs.

    A log has a line every 15 seconds, so that of short work it has none. Within a block of another
    ``progress`` nothing is shown.
    """
    global _shown
    if _shown:
        yield silent
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn
    from rich.progress import Progress as Bar

    _shown = True
    try:
        console = Console(stderr=True)
        if console.is_terminal:
            columns = (*Bar.get_default_columns(), MofNCompleteColumn())
            with Bar(*columns, console=console, transient=True) as bar:
                task = bar.add_task(what, total=None)
                yield lambda done, total: bar.update(task, completed=done, total=total)
        else:
            yield _lines(what)
    finally:
        _shown = False


def _lines(what: str) -> Progress:
    began = said = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _EVERY:
            said = now
            rate = done / (now - began)
            print(f"{done} of {total} {what}, {rate:.3g} a second", file=sys.stderr, flush=True)

    return line
