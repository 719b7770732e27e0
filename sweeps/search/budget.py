"""The hours of a sweep: its own, and those of the CPUs and GPUs that its trials held.

A clock that nobody can set measures them, and ``budget.json`` in the sweep's folder keeps the sums
over all restarts. A kill loses the seconds since the last note at most, and trials never count for
less than the seconds of training in their run folders.
"""

from __future__ import annotations

import json
import logging
import time

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import End, Listener, Row, Training

log = logging.getLogger(__name__)
NOTE_SECONDS = 10.0
SUMS = ("driven_seconds", "held_seconds")


class Budget(Listener):
    """Counts hours, and says when they are spent.

    Args:
        spec: gives the limits and the resources of a trial.
        trained: seconds of training in the run folders of the trials so far.
    """

    def __init__(self, spec: SweepSettings, trained: float = 0.0) -> None:
        self._spec, self._path = spec, spec.folder.budget
        self._driven, held = self._noted_sums()
        self._held = max(held, trained)
        self._running: set[str] = set()
        self._last = self._noted = time.monotonic()
        self._warned = False

    def _noted_sums(self) -> list[float]:
        if not self._path.exists():
            return [0.0, 0.0]
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return [float(values[name]) for name in SUMS]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{self._path}: is damaged, so that what the sweep has used is unknown; write "
                '{"driven_seconds": SECONDS, "held_seconds": SECONDS} into it, or remove it'
            ) from None

    def used(self) -> dict[str, float]:
        """Return the hours used so far, over all restarts, by the name of their limit."""
        self._add()
        train = self._spec.base.train
        held = self._held / 3600 * train.workers
        return {
            "max_hours": self._driven / 3600,
            "max_cpu_hours": held * train.cpus_per_worker,
            "max_gpu_hours": held * train.gpus_per_worker,
        }

    def spent(self) -> bool:
        """Say whether no more trial may start."""
        for name, used in self.used().items():
            limit = getattr(self._spec, name)
            if limit is not None and used >= limit:
                if not self._warned:
                    log.warning("%s: %.2f of %g are spent; no trial starts", name, used, limit)
                    self._warned = True
                return True
        return False

    def started(self, training: Training, attempt: int) -> None:
        """A training takes its resources."""
        self._add()
        if training.kind != "final":
            self._running.add(training.name)

    def reported(self, training: Training, row: Row) -> None:
        """Time passes."""
        self._add()
        if self._last - self._noted > NOTE_SECONDS:
            self.note()

    def ended(self, training: Training, end: End) -> None:
        """A training gives its resources back."""
        self._add()
        self._running.discard(training.name)
        self.note()

    def _add(self) -> None:
        now = time.monotonic()
        self._driven += now - self._last
        self._held += (now - self._last) * len(self._running)
        self._last = now

    def note(self) -> None:
        """Write the sums to disk."""
        self._add()
        self._noted = self._last
        sums = dict(zip(SUMS, (self._driven, self._held), strict=True))
        write_text(self._path, json.dumps(sums))
