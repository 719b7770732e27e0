"""Progress of a run, read from its metrics file: a bar on a terminal, plain lines in a log.

Reading the file works the same for a loop in this process and for workers on other nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from c2vl.training.figures import short_names
from c2vl.training.run_folder import RunFolder


def line(row: dict[str, Any]) -> str:
    """One epoch in words: ``loss 2.31  alpha 0.40  linear_val 0.71 …``."""
    return "  ".join(f"{name} {row[name]:.4g}" for name in short_names() if name in row)


@contextmanager
def following(folder: Path, epochs: int) -> Iterator[None]:
    """Show the epochs of a run's folder as they are written, until the block ends.

    Args:
        folder: the run's folder; it need not exist yet.
        epochs: how many there will be.
    """
    console, stop = Console(), threading.Event()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(folder.name, total=epochs, figures="")
    run = RunFolder(folder)
    shown = len(run.rows())  # what an earlier start has shown

    def show() -> None:
        nonlocal shown
        rows = run.rows()
        for row in rows[shown:]:
            if console.is_terminal:
                bar.update(task, completed=row["epoch"], figures=line(row))
            else:
                text = f"{folder.name} epoch {row['epoch']}/{epochs}  {line(row)}"
                console.print(text, soft_wrap=True)  # a log's line is whole, however long
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
