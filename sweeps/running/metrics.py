"""Tells Ray's metrics, and so Prometheus, how a sweep goes; ``cluster/monitoring`` shows them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from sweeps.spec.training import End, Listener, Row, Training

LOOK_SECONDS = 10.0  # between two looks at the notes


class Metrics(Listener):
    """Exports trainings by outcome, epochs, and what waits for MLflow; needs a connection to Ray.

    Prometheus sees ``ray_c2vl_trainings{sweep, kind, outcome}``, ``ray_c2vl_epochs_total{sweep}``
    and ``ray_c2vl_tracking_waiting{sweep}``.

    Args:
        sweep: its name, the tag of each figure.
        counts: trials by outcome before this start.
        notes: folder with a file for each MLflow run that has unsent updates.
    """

    def __init__(self, sweep: str, counts: Counter[str], notes: Path) -> None:
        from ray.util import metrics

        self._trainings = metrics.Gauge(
            "c2vl_trainings", "Trainings by outcome.", ("sweep", "kind", "outcome")
        )
        self._epochs = metrics.Counter("c2vl_epochs", "Epochs trained.", ("sweep",))
        self._waiting = metrics.Gauge(
            "c2vl_tracking_waiting", "MLflow runs with unsent updates.", ("sweep",)
        )
        for metric in (self._trainings, self._epochs, self._waiting):
            metric.set_default_tags({"sweep": sweep})
        self._running: dict[str, str] = {}
        self._counts = Counter({("trial", key): n for key, n in counts.items() if key != "running"})
        self._notes, self._asked = notes, float("-inf")
        self._tell()

    def started(self, training: Training, attempt: int) -> None:
        """A training runs."""
        self._running[training.name] = training.kind
        self._tell()

    def reported(self, training: Training, row: Row) -> None:
        """A training has finished an epoch."""
        self._epochs.inc()
        if time.monotonic() - self._asked > LOOK_SECONDS:
            self._tell()

    def ended(self, training: Training, end: End) -> None:
        """A training has ended."""
        self._running.pop(training.name, None)
        if end.outcome != "interrupted":
            self._counts[training.kind, end.outcome] += 1
        self._tell()

    def _tell(self) -> None:
        for kind in ("trial", "repeat", "final"):
            self._counts[kind, "running"] = sum(k == kind for k in self._running.values())
        for (kind, outcome), count in self._counts.items():
            self._trainings.set(count, {"kind": kind, "outcome": outcome})
        self._waiting.set(sum(1 for _ in self._notes.glob("*.json")))
        self._asked = time.monotonic()
