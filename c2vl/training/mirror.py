"""Folders of this machine that stand for folders at URLs, for what is written bit by bit.

What a run writes lies at its URL; a machine that works on it does so in a copy in its
cache (:meth:`.Cache.of_node`). :meth:`Mirror.pull` makes the copy what lies at the URL, and
:meth:`Mirror.push` sends what was changed. An object store has no append and no rename, but an
object is there whole or not at all: files that grow are sent whole, and the files that say that
others are there go last.

A copy that was pulled bears the time of its original; that and the size tell whether it is current.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from c2vl.skeletons.cache import CARD, Cache
from c2vl.support.files import write_error, write_text
from c2vl.support.remote import RemoteFolder

PATIENCE = 600.0
"""Seconds without an answer after which a server is given up: results wait longer than data."""
LAST = ("encoder.json", "done.json")
"""They say that other files are there, and are sent after them."""
_AT_ONCE = 8  # requests
_WHOLE = 8 << 20  # bytes; a smaller file is read by one request
_RECENT = 2.0  # seconds in which a file may change twice at what its server calls one time
_PARTIAL = ".tmp-"
Names = Callable[[str], bool]


def mirror_path(url: str) -> Path:
    """Return the folder of this machine that stands for a URL, whether it is there or not."""
    entry, _ = Cache.of_node().entry("mirror", {"url": url})
    return entry / url.partition("?")[0].rpartition("/")[2]


class Mirror:
    """A folder at a URL, and its copy on this machine.

    Attributes:
        url: the place of the lasting record.
        path: the copy; it need not exist.
        remote: the folder at the URL.
    """

    def __init__(self, url: str, patience: float | None = None) -> None:
        """Keep the copy from being deleted to make room, until :meth:`close`.

        Args:
            patience: of :class:`.RemoteFolder`; default: :data:`PATIENCE`.
        """
        self.url, self.path = url, mirror_path(url)
        self.remote = RemoteFolder(url, PATIENCE if patience is None else patience)
        self._known: dict[str, tuple[int, int]] = {}  # size and time of copies that are current
        self._one = threading.RLock()
        cache, card = Cache.of_node(), Cache.of_node().entry("mirror", {"url": url})[1]
        cache.hold(self.path.parent)
        write_text(self.path.parent / CARD, card)

    def pull(
        self,
        *,
        leave: Names = lambda _: False,
        stays: Names = lambda _: False,
        below: str = "",
        deep: bool = True,
    ) -> None:
        """Make the copy what lies at the URL.

        Args:
            leave: names that are not copied; of their folders there is an empty one.
            stays: names that belong to this machine alone.
            below: do so in this folder alone.
            deep: in its folders too.

        Raises:
            StorageAway: the server does not answer, or refuses us.
        """
        with self._one:
            there = self.remote.listing(below, deep=deep)
            here = {name for name in self._files(below, deep=deep) if not stays(name)}
            for name in here - there.keys():
                (self.path / name).unlink(missing_ok=True)
                self._known.pop(name, None)
            wanted = {}
            for name, (size, when) in there.items():
                if leave(name):
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                elif not stays(name):
                    wanted[name] = size, when
            if deep:
                self._drop_folders(below, {name.rpartition("/")[0] for name in there}, stays)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda name: self._fetch(name, *wanted[name]), wanted))

    def _drop_folders(self, below: str, there: set[str], stays: Names) -> None:
        """Delete empty folders that the URL does not have."""
        for folder in sorted((self.path / below).glob("**"), reverse=True):
            name = folder.relative_to(self.path).as_posix()
            if name not in there and not stays(name):
                with suppress(OSError):  # it has files, or is gone
                    folder.rmdir()

    def _fetch(self, name: str, size: int, when: float) -> None:
        """Copy a file, unless the copy is current."""
        target = self.path / name
        try:
            found = target.stat()
            # what was written here has a fraction of a second in its time
            if (found.st_size, found.st_mtime_ns) == (size, int(when) * 10**9):
                self._known[name] = size, found.st_mtime_ns
                return
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{_PARTIAL}{target.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            if size <= _WHOLE:
                partial.write_bytes(self.remote.read(name))
            else:
                self.remote.fetch(name, size, partial, lambda _: None)
            if time.time() - when < _RECENT:
                when -= 1  # it is asked for again
            os.utime(partial, (when, int(when)))
            os.replace(partial, target)
            self._know(name)
        except FileNotFoundError:
            pass  # deleted there meanwhile
        except OSError as error:
            raise write_error(target, error) from None
        finally:
            partial.unlink(missing_ok=True)

    def refresh(self, name: str) -> None:
        """Take a file that only grows from the URL, if it is longer there."""
        target = self.path / name
        try:
            text = self.remote.read(name)
        except FileNotFoundError:
            return
        if not target.exists() or target.stat().st_size < len(text):
            write_text(target, text.decode())
            self._know(name)

    def push(self, *paths: Path) -> None:
        """Send the files that were changed since they were current, delete there what is gone here.

        Args:
            paths: files, and folders with all that is in them, of the copy.

        Raises:
            StorageAway: the server does not answer, or refuses us.
        """
        owned = self.among(*paths)
        with self._one:
            here = {name for path in paths for name in self._files(self.name(path))}
            for name in sorted(here, key=_rank):
                with suppress(FileNotFoundError):  # another thread has removed it: the next time
                    if (found := self._stat(name)) != self._known.get(name):
                        self.remote.send(self.path / name, name)
                        self._known[name] = found
            for name in sorted(name for name in self._known if owned(name) and name not in here):
                self.remote.delete(name)
                del self._known[name]

    @contextmanager
    def having(self, folder: Path) -> Iterator[Path]:
        """Yield a folder of the copy with its files in it; those that came for it go again."""
        before = self._files(name := self.name(folder))
        self.pull(below=name)
        try:
            yield folder
        finally:
            for came in set(self._files(name)) - set(before):
                (self.path / came).unlink(missing_ok=True)
                self._known.pop(came, None)

    def delete(self, folder: Path, *, keep: int = 0) -> None:
        """Delete the files of a folder at the URL, but the last ``keep`` by name.

        Those that say that others are there go first. The copy stays as it is.
        """
        names = sorted(self.remote.files(self.name(folder)), key=_rank)
        for name in reversed(names[: len(names) - keep]):
            self.remote.delete(name)
            self._known.pop(name, None)

    def name(self, path: Path) -> str:
        """Return the name at the URL of a path of the copy; of the copy itself it is empty."""
        name = path.relative_to(self.path).as_posix()
        return "" if name == "." else name

    def among(self, *paths: Path) -> Names:
        """Tell of names whether they are one of these paths of the copy, or lie below one."""
        given = [self.name(path) for path in paths]
        return lambda name: any(name == one or name.startswith(f"{one}/") for one in given)

    def close(self, *, discard: bool = False) -> None:
        """Let the copy be deleted when room is wanted, or delete it now: the URL has the record."""
        if discard:
            shutil.rmtree(self.path.parent, ignore_errors=True)
        Cache.of_node().release(self.path.parent)

    def _files(self, below: str = "", *, deep: bool = True) -> list[str]:
        top = self.path / below
        return [
            path.relative_to(self.path).as_posix()
            for path in ([top] if top.is_file() else top.rglob("*") if deep else top.glob("*"))
            if not path.name.startswith(_PARTIAL) and path.is_file()
        ]

    def _stat(self, name: str) -> tuple[int, int]:
        found = (self.path / name).stat()
        return found.st_size, found.st_mtime_ns

    def _know(self, name: str) -> None:
        self._known[name] = self._stat(name)


def _rank(name: str) -> tuple[int, str]:
    last = name.rpartition("/")[2]
    return (LAST.index(last) + 1 if last in LAST else 0), name
