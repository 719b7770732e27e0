"""What is computed from a store once and then read by everybody: clips, features, statistics.

A cache is a folder of entries; an entry is a folder named by its kind and a hash of all that
decides its content, with that written out in ``entry.json``. It lies in ``cache/`` of the store,
where all trials of a sweep find it, or in the folder that ``C2VL_CACHE`` names (a node's own disk,
say). Of a store that may only be read, what its cache lacks is made in the machine's cache,
``~/.cache/c2vl``. What comes from a URL (:mod:`c2vl.skeletons.staging`) lies there or in
``C2VL_CACHE``, and so does what is computed from it. When a cache grows past ``C2VL_CACHE_GB``
(50), the entries used longest ago are deleted. Any number of processes may use a cache at once: one
computes an entry while the others wait for it, and a file that a process has mapped stays readable
to it when its entry is deleted (on a local disk; over NFS leave room for all that runs at once).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

from c2vl.support.errors import UserError
from c2vl.support.files import adding_folder, parse_json, write_error

log = logging.getLogger(__name__)
Found = TypeVar("Found")

FOLDER, LIMIT = "C2VL_CACHE", "C2VL_CACHE_GB"
_DEFAULT_GB = 50.0
CARD, _LOCKS = "entry.json", ".locks"
_held: dict[Path, TextIO] = {}  # entries that this process uses
_NAME = re.compile(r"[a-z]+-[0-9a-f]{16}")
_EARLIER = re.compile(r"[0-9a-f]{16}|features-[0-9a-f]{16}\.npy|layout-.+-v\d+")
"""Names of clips, features and converted stores as earlier versions kept them."""


class HasPath(Protocol):
    """What lies in a folder: a store."""

    path: Path


@dataclass(frozen=True)
class Entry:
    """An entry of a cache.

    Attributes:
        path: its folder (a file in earlier versions' caches).
        kind: "clips", "features", …; "earlier" for what this version no longer reads.
        about: what decides its content.
        size: bytes on the disk.
        used: when it was last used, seconds since the epoch.
    """

    path: Path
    kind: str
    about: Mapping[str, Any]
    size: int
    used: float


class Cache:
    """A folder of entries.

    Attributes:
        folder: need not exist.
        limit: bytes; None where nothing is deleted by itself.
        before: another folder of entries, read first and never written.
    """

    def __init__(
        self, folder: Path, limit: float | None = None, before: Path | None = None
    ) -> None:
        self.folder, self.limit, self.before = folder, limit, before

    @classmethod
    def of(cls, store: HasPath) -> Cache:
        """Return the cache for what is computed from a store.

        Raises:
            UserError: ``C2VL_CACHE_GB`` is no size.
        """
        shared = cls.of_node()
        if os.environ.get(FOLDER) or store.path.parent == shared.folder:
            return shared
        own = store.path / "cache"
        if os.access(own if own.exists() else store.path, os.W_OK):
            return cls(own, shared.limit)
        log.info("%s may only be read: what its cache lacks is made in %s", own, shared.folder)
        return cls(shared.folder, shared.limit, before=own)

    @classmethod
    def of_node(cls) -> Cache:
        """Return the cache of this machine, which all its processes share.

        Raises:
            UserError: ``C2VL_CACHE_GB`` is no size.
        """
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(Path(os.environ.get(FOLDER) or home / "c2vl").absolute(), _limit())

    def get(
        self,
        kind: str,
        about: Mapping[str, Any],
        make: Callable[[Path], None],
        read: Callable[[Path], Found],
    ) -> Found:
        """Read an entry; make it first where it is absent or damaged.

        Args:
            kind: one lower-case word.
            about: everything that decides the content, as JSON has it.
            make: writes the content into an empty folder.
            read: reads it; raises OSError, EOFError or ValueError where it is damaged.

        Raises:
            UserError: the cache cannot be written.
        """
        entry, key = self.entry(kind, about)
        name = entry.name
        if self.before is not None:
            with suppress(OSError, EOFError, ValueError):
                return read(self.before / name)
        for _ in range(3):  # another process may delete it between making and reading
            with suppress(OSError, EOFError, ValueError):
                found = read(entry)
                with suppress(OSError):  # a cache that may only be read keeps no times
                    os.utime(entry)
                return found
            with self._locked(name) as alone:
                with suppress(OSError, EOFError, ValueError):
                    return read(entry)  # another process made it meanwhile
                _delete(entry)
                if alone:
                    self._drop_unfinished(name)
                self._make(entry, key, make)
        return read(entry)

    def entry(self, kind: str, about: Mapping[str, Any]) -> tuple[Path, str]:
        """Return the folder of an entry, and the content of its ``entry.json``."""
        key = json.dumps({"kind": kind, **about}, sort_keys=True)
        return self.folder / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}", key

    def hold(self, entry: Path, *, alone: bool = False) -> None:
        """Keep an entry from being deleted to make room, until :meth:`release` or the process ends.

        Args:
            alone: while no other process holds it.

        Raises:
            BlockingIOError: ``alone``, and another process holds it.
            UserError: the cache cannot be written.
        """
        if entry in _held:
            return
        try:
            (self.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            file = (self.folder / _LOCKS / f"{entry.name}.held").open("w")
        except OSError as error:
            problem = write_error(self.folder, error)
            raise type(problem)(f"{problem}; name a folder for the cache by {FOLDER}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            file.close()
            raise
        except OSError:
            pass  # a file system without locks: leave room there for all that runs at once
        _held[entry] = file

    def release(self, entry: Path) -> None:
        """Let an entry be deleted when it has not been used for long."""
        if file := _held.pop(entry, None):
            file.close()

    def _delete_unheld(self, entry: Path) -> bool:
        """Delete an entry that no process holds; tell whether it is gone."""
        if entry in _held:
            return False
        try:
            self.hold(entry, alone=True)
        except BlockingIOError:
            return False
        except UserError:  # no lock can be made: deleting will say why
            pass
        try:
            _delete(entry)
        finally:
            self.release(entry)
        return True

    def _make(self, entry: Path, key: str, make: Callable[[Path], None]) -> None:
        try:
            with adding_folder(entry) as partial:
                make(partial)
                (partial / CARD).write_text(key, encoding="utf-8")
        except UserError as error:
            if os.access(self.folder, os.W_OK):
                raise
            raise UserError(f"{error}; name a folder for the cache by {FOLDER}") from None
        if self.limit is not None:
            for gone in self.prune(self.limit, keep=entry):
                log.info("%s: deleted, the cache is over %s", gone.path, LIMIT)

    def _drop_unfinished(self, name: str) -> None:
        """Delete what a killed process left of an entry."""
        for unfinished in self.folder.glob(f".tmp-{name}-*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        """Hold an entry's lock; False where the file system has none, and all make the entry."""
        try:
            (self.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            file = (self.folder / _LOCKS / name).open("w")
        except OSError:
            yield False  # making the entry will say why
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                alone = True
            except OSError:
                alone = False
            yield alone

    def entries(self) -> list[Entry]:
        """Return the entries, used longest ago first; other files are left out."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            about: dict[str, Any] = {}
            if _NAME.fullmatch(path.name):
                with suppress(OSError, ValueError):
                    about = parse_json((path / CARD).read_text(encoding="utf-8"))
            elif not _EARLIER.fullmatch(path.name):
                continue
            kind = str(about.pop("kind", "earlier"))
            with suppress(FileNotFoundError):
                found.append(Entry(path, kind, about, _size(path), path.stat().st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def prune(self, limit: float, keep: Path | None = None) -> list[Entry]:
        """Delete the entries used longest ago until the others take no more than a limit.

        An entry from a URL that a process uses stays: it would have to come again.

        Args:
            limit: bytes.
            keep: an entry that stays in any case.

        Returns:
            What was deleted.

        Raises:
            UserError: an entry cannot be deleted.
        """
        entries = self.entries()
        size, gone = sum(entry.size for entry in entries), []
        for entry in entries:
            if size > limit and entry.path != keep and self._delete_unheld(entry.path):
                size -= entry.size
                gone.append(entry)
        return gone


def _limit() -> float:
    given = os.environ.get(LIMIT, str(_DEFAULT_GB))
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1
    if not gigabytes >= 0:
        raise UserError(f"{LIMIT}: {given!r} is no size in GB; give a number like 50")
    return gigabytes * 1e9


def _delete(path: Path) -> None:
    """Delete an entry: it is gone at once for others, whole."""
    aside = path.with_name(f".tmp-deleted-{os.getpid()}-{time.monotonic_ns()}")
    try:
        os.rename(path, aside)
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be deleted ({error.strerror})") from None


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files)
