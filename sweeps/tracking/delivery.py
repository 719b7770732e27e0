"""The thread that sends the backlog to MLflow, so that training never waits for a server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sweeps.spec.store_addresses import reason
from sweeps.tracking.backlog import Backlog, Note

LINGER = 0.3
"""Seconds to collect further reports after the first, to send them as one batch."""
PAUSES = (0.5, 15.0)
"""Seconds between retries: the first pause, doubled each time up to the second value."""
SAID_AFTER = 3
"""Consecutive failures before the user is warned; a locked database does not count."""

log = logging.getLogger(__name__)


class Delivery:
    """Sends a backlog to MLflow and retries each run until it succeeds.

    Args:
        bring: updates one run in MLflow, given its note and whether more than its epochs is new.
            It raises if the update must be retried.
    """

    def __init__(self, backlog: Backlog, bring: Callable[[Note, bool], None]) -> None:
        self._backlog, self._bring = backlog, bring
        self._closing = self._hurry = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def flush(self, patience: float) -> bool:
        """Wait up to ``patience`` seconds for all updates; return False if some are unsent."""
        with self._backlog.changed:
            self._hurry = True
            self._backlog.changed.notify_all()
            told = self._backlog.changed.wait_for(lambda: not self._backlog.untold(), patience)
            self._hurry = False
        return told

    def close(self, patience: float) -> bool:
        """Send for up to ``patience`` seconds, then end; return False if updates are left.

        On a full disk it does not wait: the study and the run folders hold the results.
        """
        if not self._backlog.save():
            patience = 0.0
        with self._backlog.changed:
            self._closing = True
            self._deadline = time.monotonic() + patience
            self._backlog.changed.notify_all()
        self._thread.join(patience + 60)  # it may be waiting for the server
        return not self._thread.is_alive() and self._backlog.close()

    def _work(self) -> None:
        changed, pause, failures = self._backlog.changed, PAUSES[0], 0
        while True:
            with changed:
                if not self._backlog.untold():
                    changed.notify_all()
                    if self._closing:
                        return
                    changed.wait()
                changed.wait_for(self._soon, LINGER)
            if (error := self._try()) is None:
                if failures >= SAID_AFTER:
                    log.warning("MLflow answers again")
                pause, failures = PAUSES[0], 0
                continue
            failures += 1
            if failures == SAID_AFTER:
                log.warning("MLflow: %s; what is to be written waits on disk", error)
            if time.monotonic() > self._deadline:
                return
            if self._soon():
                time.sleep(min(pause, 2.0))
            else:
                with changed:
                    changed.wait_for(self._soon, pause)
            pause = min(pause * 2, PAUSES[1])

    def _soon(self) -> bool:
        return self._closing or self._hurry

    def _try(self) -> str | None:
        """Send all pending updates; return the reason if that failed."""
        try:
            for note, epoch, new in self._backlog.untold():
                self._bring(note, new)
                self._backlog.done(note, epoch)
        except Exception as error:
            return reason(error)
        return None
