"""The thread that sends the backlog to MLflow, so that training never waits for a server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from c2vl.support.errors import UserError
from sweeps.tracking.backlog import Backlog, Note
from sweeps.tracking.mlflow_store import Refused, does_not_answer

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
        uri: of MLflow, for messages.

    Attributes:
        error: why the last update failed; None if it did not.
    """

    def __init__(self, backlog: Backlog, bring: Callable[[Note, bool], None], uri: str) -> None:
        self._backlog, self._bring, self._uri = backlog, bring, uri
        self._closing = self._hurry = False
        self._patience = float("inf")
        self._progress = time.monotonic()
        self.error: UserError | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def flush(self, patience: float) -> bool:
        """Wait until all is sent; return False after ``patience`` seconds without progress."""
        changed = self._backlog.changed
        with changed:
            self._progress, self._hurry, self.error = time.monotonic(), True, None
            changed.notify_all()
            while self._backlog.untold() and not self._given_up(patience):
                changed.wait(0.2)
            self._hurry = False
            return not self._backlog.untold()

    def close(self, patience: float) -> bool:
        """Send until ``patience`` seconds pass without progress; return False if updates are left.

        On a full disk it does not wait: the study and the run folders hold the results.
        """
        if not self._backlog.save():
            patience = 0.0
        with self._backlog.changed:
            self._closing, self._patience = True, patience
            self._progress, self.error = time.monotonic(), None
            self._backlog.changed.notify_all()
        while self._thread.is_alive() and not self._late(patience + 60):
            self._thread.join(0.2)  # it may be waiting for the server
        return not self._thread.is_alive() and self._backlog.close()

    def _late(self, patience: float) -> bool:
        return time.monotonic() > self._progress + patience

    def _given_up(self, patience: float) -> bool:
        """Say whether waiting is of no use: MLflow was silent for long, or has refused us."""
        return self._late(patience) or isinstance(self.error, Refused)

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
            self.error = self._try()
            if self.error is None:
                if failures >= SAID_AFTER:
                    log.warning("MLflow answers again")
                pause, failures = PAUSES[0], 0
                continue
            failures += 1
            if failures == SAID_AFTER:
                log.warning("%s; what is to be written waits on disk", self.error)
            if self._closing and self._given_up(self._patience):
                return
            if self._soon():
                time.sleep(min(pause, 2.0))
            else:
                with changed:
                    changed.wait_for(self._soon, pause)
            pause = min(pause * 2, PAUSES[1])

    def _soon(self) -> bool:
        return self._closing or self._hurry

    def _try(self) -> UserError | None:
        """Send all pending updates; return why one failed."""
        try:
            for note, epoch, new in self._backlog.untold():
                self._bring(note, new)
                self._backlog.done(note, epoch)
                self._progress = time.monotonic()
        except Exception as error:
            return does_not_answer(self._uri, error)
        return None
