"""One driver a sweep: a lock on its folder that ends with the process, and who holds it.

Of a sweep at a URL the lock is that of this machine's copy, which it keeps for the driver alone,
and a lease at the URL (:mod:`sweeps.spec.lease`) keeps other machines out.

filelock has no shared lock: with it, four commands that look at a sweep at once took each other for
its driver in 2,529 of 8,000 looks, and with ``flock`` shared in none.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from c2vl.support.errors import StorageAway, UserError
from c2vl.support.remote import RemoteFolder
from c2vl.training import mirror
from sweeps.spec.lease import STOP, Lease, held_at, is_held
from sweeps.spec.sweep_folder import SweepFolder

GLANCE_SECONDS = 1.0  # a command that looks at the lock holds it for a moment
COPY_SECONDS = 60.0  # and one that copies what lies at a URL for longer
_HOLDER = re.compile(r"process (?P<pid>\d+) on (?P<host>[^\s,]+)(?P<stopping>, stopping)?")


@dataclass(frozen=True)
class Holder:
    """The process that drives a sweep.

    Attributes:
        pid: its process id.
        host: its host's name.
        stopping: it has received a request to stop.
    """

    pid: int
    host: str
    stopping: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (", stopping" if self.stopping else "")


@contextmanager
def locked(folder: SweepFolder, name: str, *, make: bool) -> Iterator[Callable[[], None]]:
    """Hold the lock of a sweep's folder; it ends with the process, however that ends.

    The copy of one at a URL is then current, and at the end the URL has what was written.

    Yields:
        A function that returns once it is certain that the lock is still held.

    Raises:
        UserError: another process holds it, or the folder is gone and ``make`` is false.
    """
    with _locked_here(folder, name, make=make or folder.url is not None):
        if folder.mirror is None:
            yield lambda: None
            return
        RemoteFolder(folder.mirror.url).require_writable()
        remote = folder.mirror.remote = RemoteFolder(folder.mirror.url, mirror.PATIENCE)
        with Lease(remote, folder.path, name, lambda: folder.lock.read_text("utf-8")) as lease:
            folder.pull(runs=True)
            try:
                yield lease.confirm
            except BaseException:
                with suppress(StorageAway):  # the first error is told
                    _send_left(folder)
                raise
            _send_left(folder)


def _send_left(folder: SweepFolder) -> None:
    if folder.path.exists():  # it was not deleted
        folder.send()


@contextmanager
def _locked_here(folder: SweepFolder, name: str, *, make: bool) -> Iterator[None]:
    began = time.monotonic()
    while True:
        if make:
            folder.path.mkdir(parents=True, exist_ok=True)
        try:
            file = folder.lock.open("a+", encoding="utf-8")
        except FileNotFoundError:
            if make:
                continue  # the last holder has just removed the folder
            raise UserError(f"{name}: there is no such sweep any more") from None
        with file:
            while not _taken(file, fcntl.LOCK_EX):
                patience = COPY_SECONDS if _taken(file, fcntl.LOCK_SH) else GLANCE_SECONDS
                if time.monotonic() > began + patience:
                    file.seek(0)
                    raise _runs_already(name, file.read())
                time.sleep(0.05)
            if not _still_there(file, folder.lock):
                continue  # the folder was removed meanwhile: this file locks nobody out
            file.truncate(0)
            file.write(str(Holder(os.getpid(), socket.gethostname())))
            file.flush()
            yield
            return


def require_free(folder: SweepFolder, name: str) -> None:
    """Refuse a sweep that a process of this machine drives, before anything slow is imported.

    Raises:
        UserError: it says which process.
    """
    began = time.monotonic()
    while _is_running_here(folder):
        if time.monotonic() > began + GLANCE_SECONDS:
            raise _runs_already(name, folder.lock.read_text(encoding="utf-8"))
        time.sleep(0.05)


def _runs_already(name: str, who: str) -> UserError:
    who = who.strip() or "elsewhere"
    return UserError(f"{name}: is running already ({who}); see c2vl-sweep status {name}")


def _still_there(file: TextIO, path: Path) -> bool:
    """Say whether a path still names an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _taken(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def mark_stopping(folder: SweepFolder) -> None:
    """Note in this process's lock that it stops, so that nobody asks it again."""
    text = str(Holder(os.getpid(), socket.gethostname(), stopping=True))
    folder.lock.write_text(text, encoding="utf-8")


def refresh(folder: SweepFolder, *, runs: bool = False) -> None:
    """Make the copy of a sweep at a URL what lies there, unless its driver works on this very copy.

    Args:
        runs: the run folders too.

    Raises:
        UserError: the server refuses us, or does not answer.
    """
    if folder.url is None:
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("a", encoding="utf-8") as file:
        if _taken(file, fcntl.LOCK_SH):
            folder.pull(runs=runs)
            if not folder.begun:  # a name that was mistyped, say
                folder.forget()


def refresh_run(folder: SweepFolder, path: Path) -> None:
    """Do the same for one of its run folders."""
    if folder.url is not None and not _is_running_here(folder):
        folder.run(path).pull()


def is_running(folder: SweepFolder) -> bool:
    """Say whether a process drives the sweep in ``folder``."""
    if _is_running_here(folder):
        return True
    return folder.mirror is not None and is_held(folder.mirror.remote, folder.path)


def _is_running_here(folder: SweepFolder) -> bool:
    try:
        with folder.lock.open("r", encoding="utf-8") as file:
            return not _taken(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def holder(folder: SweepFolder) -> Holder | None:
    """Return the process that drives the sweep in ``folder``; None without one, or if unknown."""
    if not is_running(folder):
        return None
    if folder.mirror is None or _is_running_here(folder):
        text = folder.lock.read_text(encoding="utf-8")
    else:
        held = held_at(folder.mirror.remote)
        text = held.holder if held else ""
    found = _HOLDER.search(text)
    if found is None:
        return None
    return Holder(int(found["pid"]), found["host"], bool(found["stopping"]))


def ask_by_file(folder: SweepFolder) -> str:
    """Leave a request to stop where the driver will see it; return where that is."""
    if folder.mirror is None or _is_running_here(folder):
        folder.stop_request.touch()
        return str(folder.path)
    folder.mirror.remote.write(STOP, b"")
    return str(folder)


def is_ours_to_signal(folder: SweepFolder, who: Holder) -> bool:
    """Say whether ``who`` is a process of this host that has this lock open.

    The system reuses process ids, and containers share host names.
    """
    import psutil

    if who.host != socket.gethostname():
        return False
    lock = folder.lock.resolve()
    try:
        return any(Path(file.path) == lock for file in psutil.Process(who.pid).open_files())
    except (psutil.Error, OSError):
        return False
