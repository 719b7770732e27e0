"""Requests that a running sweep stop cleanly, and how its driver receives them.

On the driver's host the request is a signal; elsewhere it is a file in the sweep's folder, which
the driver polls (at a URL when it renews its lease). Either way the running epochs finish, every
store is updated, and the sweep can be resumed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from c2vl.support.errors import UserError
from sweeps.spec.lock import ask_by_file, holder, is_ours_to_signal, is_running, mark_stopping
from sweeps.spec.sweep_folder import SweepFolder

POLL_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Why a run of trainings should end before its source is empty; empty while it should not.

    Attributes:
        reason: a word for it.
        error: the problem that the user must solve, if that is the reason.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""
        self.error: UserError | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """Request a stop; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()


@contextmanager
def stopping(folder: SweepFolder) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM, or a request's file, into a clean stop.

    A second signal ends at once.

    Args:
        folder: of the sweep, whose lock this process holds.
    """
    stop, over = Stop(), threading.Event()
    request = folder.stop_request
    request.unlink(missing_ok=True)  # meant for an earlier driver

    def listen() -> None:
        while not stop and not over.wait(POLL_SECONDS):
            if request.exists():
                stop.request("request")
        if stop and not over.is_set():
            mark_stopping(folder)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heed_signals(stop)
    thread = threading.Thread(target=listen, daemon=True, name="stop")
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        request.unlink(missing_ok=True)


def heed_signals(stop: Stop) -> None:
    """Handle SIGINT and SIGTERM as stop requests; repeat after Ray starts, as it takes SIGTERM."""

    def asked(number: int, _: object) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.request("signal")
        os.write(2, b"\nstopping after the running epochs; once more to end at once\n")

    for number in SIGNALS:
        signal.signal(number, asked)


def ask_to_stop(folder: SweepFolder) -> str | None:
    """Ask the driver of the sweep in ``folder`` to stop; returns at once.

    Returns:
        Whom it asked and how; None if no driver runs.
    """
    who = holder(folder)
    if who is None and not is_running(folder):
        return None
    if who is not None and who.stopping:  # a second signal would end it at once
        return f"{who}, already"
    if who is not None and is_ours_to_signal(folder, who):
        os.kill(who.pid, signal.SIGINT)
        return f"{who}, by a signal"
    return f"{who or 'its driver'}, by a file in {ask_by_file(folder)}"


def wait_for_end(folder: SweepFolder, timeout: float) -> bool:
    """Wait until no driver runs the sweep in ``folder``; False after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while is_running(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(1.0 if folder.url else 0.2)  # at a URL each look is a request
    return True
