"""Progress of a run, read from its metrics file: a bar on a terminal, plain lines in a log.

Reading the file works the same for a loop in this process and for workers on other nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from c2vl.support.errors import StorageAway
from c2vl.support.progress import Bar, Rate, every_second
from c2vl.support.remote import Location
from c2vl.training.figures import short_names
from c2vl.training.run_folder import RunFolder


def line(row: dict[str, Any]) -> str:
    """Return one epoch as text: ``loss 2.31  alpha 0.40  linear_val 0.71 …``."""
    return "  ".join(f"{name} {row[name]:.4g}" for name in short_names() if name in row)


@contextmanager
def following(folder: Location, epochs: int) -> Iterator[None]:
    """Show what a run's folder says of its start and epochs, until the block ends.

    Args:
        folder: the run's folder, or its URL; it need not exist yet. What workers on other machines
            send to a URL is shown at the end.
        epochs: how many there will be.
    """
    run = RunFolder.at(folder)
    run.pull()
    name, bar = run.path.name, Bar(run.path.name, epochs)
    earlier = run.rows()  # earlier starts have shown these
    shown, told = len(earlier), len(run.said())
    reached = earlier[-1]["epoch"] if earlier else 0
    rate = Rate(reached)
    bar.show(reached, epochs)

    def show() -> None:
        nonlocal shown, told
        said = run.said()
        for text in said[told:]:
            bar.say(f"{name}: {text}")
        told = len(said)
        rows = run.rows()
        left = rate.left(rows[-1]["epoch"], epochs) if len(rows) > shown else ""
        for row in rows[shown:]:
            if bar.is_terminal:
                bar.show(row["epoch"], epochs, left, below=line(row))
                continue
            after = f"  {left}" if left and row is rows[-1] else ""
            bar.say(f"{name} epoch {row['epoch']}/{epochs}  {line(row)}{after}")
        shown = len(rows)

    with bar:
        try:
            with every_second(show):
                yield
        finally:
            with suppress(StorageAway):  # the training's own error tells of it
                run.pull()
            show()
            if run.mirror is not None:
                run.mirror.close(discard=True)
