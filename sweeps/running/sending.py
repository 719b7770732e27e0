"""Sends what the driver has written to a sweep's URL, after each event of a training."""

from __future__ import annotations

from c2vl.support.errors import StorageFull
from sweeps.running.stopping import Stop
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.spec.training import End, Listener, Training


class Sending(Listener):
    """The last listener: what the others noted is then at the URL, should this machine be lost.

    Args:
        folder: of the sweep; one that is not at a URL needs nothing.
        stop: is asked for where the server stays away.
    """

    def __init__(self, folder: SweepFolder, stop: Stop) -> None:
        self._folder, self._stop = folder, stop

    def started(self, training: Training, attempt: int) -> None:
        """A training runs."""
        self._send()

    def ended(self, training: Training, end: End) -> None:
        """A training has ended."""
        self._send()

    def _send(self) -> None:
        try:
            self._folder.send()
        except StorageFull as error:
            self._stop.error = self._stop.error or error
            self._stop.request("storage")
