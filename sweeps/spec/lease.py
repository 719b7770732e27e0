"""One driver for a sweep at a URL: an object that its driver renews, since a URL has no lock.

Who finds a lease that does not change for :data:`EXPIRES` seconds takes the sweep over; the lease
of a driver that ran on this machine is taken over at once, since the lock of this machine's copy
(:mod:`sweeps.spec.lock`) has shown that the driver is gone. PyArrow offers no conditional write: a
driver that takes a lease reads it again after :data:`SETTLES` seconds, the last one to write has
it, and every renewal reads it first. A driver that could not renew its lease does nothing that
counts until it has (:meth:`Lease.confirm`), and ends at once where another one has it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from c2vl.support.errors import StorageAway, UserError
from c2vl.support.files import write_text
from c2vl.support.remote import RemoteFolder
from c2vl.training.mirror import PATIENCE

RENEWS, EXPIRES, SETTLES = 5.0, 30.0, 1.0  # seconds
CLOCKS = 30.0  # seconds by which clocks of this machine and the server may differ, for who looks on
NAME, STOP = "lease", "stop"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """What stands in a lease.

    Attributes:
        token: of one start of a driver.
        host: where it runs.
        holder: the driver in words (:class:`sweeps.spec.lock.Holder`).
        renewed: how often.
    """

    token: str
    host: str
    holder: str
    renewed: int = 0

    @classmethod
    def parse(cls, text: bytes) -> Held | None:
        """Return it; None where it is damaged, and so nobody's."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


def held_at(remote: RemoteFolder) -> Held | None:
    """Return the lease of a sweep; None where there is none."""
    try:
        return Held.parse(remote.read(NAME))
    except FileNotFoundError:
        return None


def is_held(remote: RemoteFolder, copy: Path) -> bool:
    """Say whether a driver of another machine has renewed its lease lately, by this one's clock.

    Args:
        copy: this machine's copy, whose lock is free.
    """
    changed = remote.changed(NAME)
    if changed is None or abs(time.time() - changed) > EXPIRES + CLOCKS:
        return False
    held = held_at(remote)
    return held is not None and not _is_of(held, copy)


def _is_of(held: Held, copy: Path) -> bool:
    """Say whether a lease is that of the last driver of this machine: a free lock shows its end."""
    own = copy / NAME
    if held.host != socket.gethostname() or not own.exists():
        return False
    before = Held.parse(own.read_bytes())
    return before is not None and before.token == held.token


class Lease:
    """The lease of this process; a context from taking it to giving it up.

    Args:
        remote: the sweep's folder.
        copy: this machine's copy of it, whose lock this process holds.
        name: of the sweep.
        holder: returns this process in words.
        lost: called once another driver has it; by default it ends this process.
    """

    def __init__(
        self,
        remote: RemoteFolder,
        copy: Path,
        name: str,
        holder: Callable[[], str],
        lost: Callable[[str], None] | None = None,
    ) -> None:
        self._remote, self._copy, self._name, self._holder = remote, copy, name, holder
        self._lost = lost or _end
        self._held = Held(uuid.uuid4().hex, socket.gethostname(), holder())
        self._over = threading.Event()
        self._news = threading.Condition()
        self._confirmed = float("-inf")

    def __enter__(self) -> Lease:
        """Take it.

        Raises:
            UserError: another driver has it.
        """
        self._wait_for_the_last()
        self._write()
        time.sleep(SETTLES)
        now = held_at(self._remote)
        if now is None or now.token != self._held.token:
            raise self._taken(now)
        write_text(self._copy / NAME, json.dumps(asdict(self._held)))
        self._remote.delete(STOP)  # meant for an earlier driver
        self._thread = threading.Thread(target=self._work, daemon=True, name="lease")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with suppress(StorageAway):  # it expires
            now = held_at(self._remote)
            if now is not None and now.token == self._held.token:
                self._remote.delete(NAME)

    def confirm(self) -> None:
        """Wait until it is certain that no other driver may have the lease.

        Raises:
            StorageAway: the server has been away for too long.
        """
        with self._news:
            while (age := time.monotonic() - self._confirmed) > EXPIRES - RENEWS:
                if age > EXPIRES + PATIENCE:
                    raise StorageAway(
                        f"{self._remote}: has not confirmed for {age:.0f} s that this driver is "
                        "the only one"
                    )
                self._news.wait(1.0)

    def _wait_for_the_last(self) -> None:
        """Wait until an earlier driver has had time to renew its lease."""
        if (last := held_at(self._remote)) is None or _is_of(last, self._copy):
            return
        log.warning("%s: waiting whether %s still runs it", self._name, _said(last))
        until = time.monotonic() + EXPIRES
        while time.monotonic() < until:
            time.sleep(1.0)
            if (now := held_at(self._remote)) is None:
                return
            if now != last:
                raise self._taken(now)

    def _taken(self, by: Held | None) -> UserError:
        return UserError(
            f"{self._name}: is running already ({_said(by)}); see c2vl-sweep status {self._name}"
        )

    def _write(self) -> None:
        began = time.monotonic()
        self._held = Held(self._held.token, self._held.host, self._holder(), self._held.renewed + 1)
        self._remote.write(NAME, json.dumps(asdict(self._held)).encode())
        with self._news:
            self._confirmed = began
            self._news.notify_all()

    def _work(self) -> None:
        while not self._over.wait(RENEWS):
            try:
                now = held_at(self._remote)
                if now is not None and now.token != self._held.token:
                    self._confirmed = float("-inf")
                    self._lost(f"{self._name}: {_said(now)} has taken the sweep over")
                    return
                self._write()
                with suppress(FileNotFoundError):
                    self._remote.read(STOP)  # `changed` would list the folder where it is absent
                    (self._copy / STOP).touch()
            except UserError as error:  # the server is away: no other driver gets the lease either
                log.warning("%s", error)


def _said(held: Held | None) -> str:
    return held.holder if held is not None else "elsewhere"


def _end(why: str) -> None:
    """End this process as a kill would: the other driver expects no more of it."""
    print(f"c2vl-sweep: {why}", file=sys.stderr, flush=True)
    os._exit(2)
