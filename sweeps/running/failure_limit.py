"""Ends a run of trainings when too many have failed."""

from __future__ import annotations

from sweeps.running.stopping import Stop
from sweeps.spec.training import End, Listener, Training


class FailureLimit(Listener):
    """Requests a stop once more than ``limit`` trainings failed.

    Args:
        stop: receives the request.
        limit: failures that are tolerated.
        reason: passed with the request.
        failed: failures before this start.
    """

    def __init__(self, stop: Stop, limit: int, reason: str, failed: int = 0) -> None:
        self._stop, self._limit, self._reason, self._failed = stop, limit, reason, failed

    def ended(self, training: Training, end: End) -> None:
        """Count a failure; a further seed that failed leaves its trial complete."""
        self._failed += end.outcome == "failed" and training.kind != "repeat"
        if self._failed > self._limit:
            self._stop.request(self._reason)
