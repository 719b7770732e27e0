"""The thread that tells MLflow what the backlog holds: training never waits for a server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sweeps.spec.store_addresses import reason
from sweeps.tracking.backlog import Backlog, Note

LINGER = 0.3
"""Seconds in which further reports may join the first: MLflow gets them as one batch."""
PAUSES = (0.5, 15.0)
"""Seconds between tries: the first pause, which doubles up to the last."""
SAID_AFTER = 3
"""Failures in a row that a user is told of; a locked database is none."""

log = logging.getLogger(__name__)


class Delivery:
    """Tells MLflow what a backlog holds, each run tried until it works.

    Args:
        backlog: the notes.
        bring: tells MLflow about one run: its note, and whether more than its epochs is new. It
            raises where the run has to be tried again.
    """

    def __init__(self, backlog: Backlog, bring: Callable[[Note, bool], None]) -> None:
        self._backlog, self._bring = backlog, bring
        self._closing = self._hurry = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def flush(self, patience: float) -> bool:
        """Wait until MLflow knows everything, at most ``patience`` seconds; False: some waits."""
        with self._backlog.changed:
            self._hurry = True
            self._backlog.changed.notify_all()
            told = self._backlog.changed.wait_for(lambda: not self._backlog.untold(), patience)
            self._hurry = False
        return told

    def close(self, patience: float) -> bool:
        """Tell for at most ``patience`` seconds, then end; False: the backlog holds what waits.

        On a full disk nobody is waited for: the study and the run folders hold what counts.
        """
        if not self._backlog.save():
            patience = 0.0
        with self._backlog.changed:
            self._closing = True
            self._deadline = time.monotonic() + patience
            self._backlog.changed.notify_all()
        self._thread.join(patience + 60)  # it may wait for an answer of the server
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
        """Tell MLflow what waits now; returns why that did not work."""
        try:
            for note, epoch, new in self._backlog.untold():
                self._bring(note, new)
                self._backlog.done(note, epoch)
        except Exception as error:
            return reason(error)
        return None
