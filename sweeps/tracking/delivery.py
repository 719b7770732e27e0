"""What is still to be written to MLflow, on disk: it outlasts an absent server and any kill.

An operation is data (a JSON line of ``tracking.jsonl`` in the sweep's folder), appended before
anything else is done with it. A thread delivers the lines in order and notes how far it came;
both files go when all is delivered. A line may be delivered twice (a kill between the two steps,
an answer that was lost), so what takes them must not mind.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2vl.support.errors import is_full
from sweeps.spec.store_addresses import reason
from sweeps.spec.sweep_folder import SweepFolder

Operation = dict[str, Any]
JOURNAL, POSITION = "tracking.jsonl", "tracking.position"
TIDY = 2**20
"""Bytes of delivered lines that are kept before the file is emptied."""
AT_ONCE = 400
LINGER = 0.3
"""Seconds in which further operations may join the first: they are delivered as one batch."""
PAUSES = (0.5, 15.0)
"""Seconds between tries: the first pause, which doubles up to the last."""
SAID_AFTER = 3
"""Failures in a row that a user is told of; a locked database is none."""

log = logging.getLogger(__name__)


class Spool:
    """The file of operations, and how far they are delivered.

    A line that a kill or a full disk cut short is no operation: it is dropped when the file is
    opened again. One that is damaged elsewhere is passed over with a warning. Appending hands the
    line to the operating system, so that no kill of the process loses it; :meth:`sync` is for power
    cuts.

    Args:
        folder: the sweep's.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._journal, self._mark = folder / JOURNAL, folder / POSITION
        self._lock = threading.Lock()
        self._file = self._journal.open("a+b", buffering=0)
        self._end = _whole(self._journal)
        self._file.truncate(self._end)
        self._position = _position(self._mark, self._end)
        self._number = os.open(self._mark, os.O_RDWR | os.O_CREAT, 0o644)
        self._note()

    def append(self, operation: Operation) -> None:
        """Add an operation.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        line = json.dumps(operation, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                if self._file.write(line) != len(line):
                    raise OSError(28, os.strerror(28), str(self._journal))
            except OSError:
                self._file.truncate(self._end)
                raise
            self._end += len(line)

    def read(self, limit: int = AT_ONCE) -> list[tuple[Operation, int]]:
        """Return the next operations, at most ``limit``, each with the place where it ends.

        Fewer where a line is damaged: it is passed over once all before it is delivered.
        """
        with self._lock:
            start, end = self._position, self._end
        found: list[tuple[Operation, int]] = []
        with self._journal.open("rb") as file:
            file.seek(start)
            while start < end and len(found) < limit:
                line = file.readline()
                operation = _operation(line)
                if operation is None and found:
                    break
                start += len(line)
                if operation is None:
                    self._pass_over(start)
                else:
                    found.append((operation, start))
        return found

    def _pass_over(self, end: int) -> None:
        with self._journal.open("rb") as file:
            number = file.read(end).count(b"\n")
        log.warning(
            "%s, line %d: is damaged and not written to MLflow; once the sweep has ended, "
            "`c2vl-sweep reconcile %s` adds what is missing there",
            self._journal,
            number,
            self._journal.parent.name,
        )
        self.advance(end)

    def advance(self, position: int) -> None:
        """Note that everything up to ``position`` is delivered."""
        with self._lock:
            self._position = position
            if position == self._end > TIDY:
                self._file.truncate(0)
                self._position = self._end = 0
            self._note()

    def _note(self) -> None:
        os.pwrite(self._number, f"{self._position:020d}\n".encode(), 0)

    def empty(self) -> bool:
        """Whether everything is delivered."""
        with self._lock:
            return self._position == self._end

    def sync(self) -> None:
        """Put what waits onto the disk itself."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files; they go where nothing waits."""
        self._file.close()
        os.close(self._number)
        if self.empty():
            self._journal.unlink(missing_ok=True)
            self._mark.unlink(missing_ok=True)


def _operation(line: bytes) -> Operation | None:
    """Read a line; None where it is damaged."""
    try:
        operation = json.loads(line)
    except ValueError:
        return None
    return operation if isinstance(operation, dict) else None


def _whole(path: Path) -> int:
    """Bytes of a journal up to the end of its last whole line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while size:
            first = max(0, size - 65536)
            file.seek(first)
            found = file.read(size - first).rfind(b"\n")
            if found >= 0:
                return first + found + 1
            size = first
    return 0


def _position(path: Path, end: int) -> int:
    """The noted position; 0 where there is none, or where the file was emptied after it."""
    try:
        position = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return position if position <= end else 0


def waiting(folder: SweepFolder) -> int:
    """Return how many operations of a sweep wait for MLflow."""
    journal = folder / JOURNAL
    try:
        end = _whole(journal)
        start = _position(folder / POSITION, end)
        with journal.open("rb") as file:
            file.seek(start)
            return file.read(end - start).count(b"\n")
    except FileNotFoundError:
        return 0


class Delivery:
    """A thread that delivers what a spool holds, each batch tried until it works.

    Args:
        spool: where the operations come from.
        deliver: takes a batch. It returns when the batch is delivered, and raises when the batch,
            or a part of it, has to be tried again.
        batches: cuts what was read into batches.
    """

    def __init__(
        self,
        spool: Spool,
        deliver: Callable[[list[Operation]], None],
        batches: Callable[[list[tuple[Operation, int]]], list[tuple[list[Operation], int]]],
    ) -> None:
        self._spool, self._deliver, self._batches = spool, deliver, batches
        self._changed = threading.Condition()
        self._closing = False
        self._hurry = False
        self._late: list[Operation] = []
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def put(self, operation: Operation) -> None:
        """Spool an operation; the thread delivers it.

        Where the disk is full it is kept in memory, and those after it, until there is room.
        """
        self._late.append(operation)
        self._write()
        with self._changed:
            self._changed.notify_all()

    def _write(self) -> bool:
        """Write what is not on disk yet; False where that is full."""
        while self._late:
            try:
                self._spool.append(self._late[0])
            except OSError as error:
                if not is_full(error):
                    raise
                if len(self._late) == 1:
                    log.warning("%s: what is to be written to MLflow is kept in memory", error)
                return False
            self._late.pop(0)
        return True

    def flush(self, patience: float) -> bool:
        """Wait until everything is delivered, or for ``patience`` seconds; False: some waits."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(self._spool.empty, patience)
            self._hurry = False
        return self._spool.empty()

    def close(self, patience: float) -> bool:
        """Deliver for at most ``patience`` seconds, then end; False: the spool holds what waits.

        On a full disk nobody is waited for: what cannot be spooled is in the run folders too.
        """
        if not self._write():
            patience = 0.0
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + patience
            self._changed.notify_all()
        self._thread.join(patience + 60)  # it may wait for an answer of the server
        if self._thread.is_alive():
            return False
        self._spool.close()
        return self._spool.empty() and not self._late

    def _work(self) -> None:
        pause, failures = PAUSES[0], 0
        while True:
            if self._spool.empty():
                with self._changed:
                    self._changed.notify_all()
                    if self._closing:
                        return
                    self._changed.wait(None if self._spool.empty() else 0)
                    self._changed.wait_for(self._soon, LINGER)
                continue
            if (error := self._try()) is None:
                if failures >= SAID_AFTER:
                    log.warning("MLflow answers again")
                pause, failures = PAUSES[0], 0
                continue
            failures += 1
            if failures == SAID_AFTER:
                log.warning("MLflow: %s; what is to be written waits on disk", error)
            self._spool.sync()
            if time.monotonic() > self._deadline:
                return
            if self._soon():
                time.sleep(min(pause, 2.0))
            else:
                with self._changed:
                    self._changed.wait_for(self._soon, pause)
            pause = min(pause * 2, PAUSES[1])

    def _soon(self) -> bool:
        return self._closing or self._hurry

    def _try(self) -> str | None:
        """Deliver some of what waits; the reason why that did not work."""
        try:
            for batch, end in self._batches(self._spool.read()):
                self._deliver(batch)
                self._spool.advance(end)
        except Exception as error:
            return reason(error)
        return None
