"""Progress of a run, read from its metrics file: a bar on a terminal, plain lines in a log.

Reading the file works the same for a loop in this process and for workers on other nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from c2vl.support.progress import Bar
from c2vl.training.figures import short_names
from c2vl.training.run_folder import RunFolder


def line(row: dict[str, Any]) -> str:
    """Return one epoch as text: ``loss 2.31  alpha 0.40  linear_val 0.71 …``."""
    return "  ".join(f"{name} {row[name]:.4g}" for name in short_names() if name in row)


@contextmanager
def following(folder: Path, epochs: int) -> Iterator[None]:
    """Show what a run's folder says of its start and epochs, until the block ends.

    Args:
        folder: the run's folder; it need not exist yet.
        epochs: how many there will be.
    """
    bar, stop, run = Bar(folder.name, epochs), threading.Event(), RunFolder(folder)
    shown, told = len(run.rows()), len(run.said())  # earlier starts have shown these

    def show() -> None:
        nonlocal shown, told
        said = run.said()
        for text in said[told:]:
            bar.say(f"{folder.name}: {text}")
        told = len(said)
        rows = run.rows()
        for row in rows[shown:]:
            if bar.is_terminal:
                bar.show(row["epoch"], epochs, line(row))
            else:
                bar.say(f"{folder.name} epoch {row['epoch']}/{epochs}  {line(row)}")
        shown = len(rows)

    def watch() -> None:
        while not stop.wait(1.0):
            show()

    thread = threading.Thread(target=watch, daemon=True, name="progress")
    with bar:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            show()
