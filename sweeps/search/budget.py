"""What a sweep may cost: hours of its own, and hours of CPUs and GPUs that its trials held.

Durations are measured by a clock that nobody sets and added up in ``budget.json`` of the sweep's
folder; a restart goes on from there. A kill loses the seconds since the last note at most, and
trials never count less than the seconds of training in their run folders.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import End, Job, Row

log = logging.getLogger(__name__)
NOTE_SECONDS = 10.0


class Budget:
    """Counts hours, and says when they are spent: a listener of the engine.

    Args:
        spec: gives the limits.
        trained: seconds of training in the run folders of the trials so far.
    """

    def __init__(self, spec: SweepSettings, trained: float = 0.0) -> None:
        self._spec = spec
        self._path: Path = spec.folder.budget
        known = self._known()
        self._driven = known["driven_seconds"]
        self._held = max(known["held_seconds"], trained)
        self._running: set[str] = set()
        self._last = self._noted = time.monotonic()
        self._said = False

    def _known(self) -> dict[str, float]:
        names = ("driven_seconds", "held_seconds")
        if not self._path.exists():
            return dict.fromkeys(names, 0.0)
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: float(values[name]) for name in names}
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{self._path}: is damaged, so that what the sweep has used is unknown; write "
                '{"driven_seconds": SECONDS, "held_seconds": SECONDS} into it, or remove it'
            ) from None

    @property
    def hours(self) -> float:
        """How long the sweep has been driven, over all of its restarts."""
        self._add()
        return self._driven / 3600

    @property
    def cpu_hours(self) -> float:
        """CPUs that trials held, times hours."""
        self._add()
        train = self._spec.base.train
        return self._held / 3600 * train.workers * train.cpus_per_worker

    @property
    def gpu_hours(self) -> float:
        """GPUs that trials held, times hours."""
        self._add()
        train = self._spec.base.train
        return self._held / 3600 * train.workers * train.gpus_per_worker

    def spent(self) -> bool:
        """Whether no more trial may start."""
        for name, used in (
            ("max_hours", self.hours),
            ("max_cpu_hours", self.cpu_hours),
            ("max_gpu_hours", self.gpu_hours),
        ):
            limit = getattr(self._spec, name)
            if limit is not None and used >= limit:
                if not self._said:
                    log.warning("%s: %.2f of %g are spent; no trial starts", name, used, limit)
                    self._said = True
                return True
        return False

    def started(self, job: Job, attempt: int) -> None:
        """A job holds its resources."""
        self._add()
        if job.kind == "trial":
            self._running.add(job.name)

    def reported(self, job: Job, row: Row) -> None:
        """Time passes."""
        self._add()
        if self._last - self._noted > NOTE_SECONDS:
            self.note()

    def ended(self, job: Job, end: End) -> None:
        """A job gives its resources back."""
        self._add()
        self._running.discard(job.name)
        self.note()

    def _add(self) -> None:
        now = time.monotonic()
        self._driven += now - self._last
        self._held += (now - self._last) * len(self._running)
        self._last = now

    def note(self) -> None:
        """Write down what has been used so far."""
        self._add()
        self._noted = self._last
        known = {"driven_seconds": self._driven, "held_seconds": self._held}
        write_text(self._path, json.dumps(known))
