"""Folders at URLs: ``s3://``, ``gs://``, ``abfs://``, ``hdfs://``, by PyArrow.

Other schemes (``az://``) go through fsspec, if the package that serves them is installed.
Credentials and endpoints come from the environment, as the schemes' own tools read them
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` …), or from PyArrow's options in the URL
(``?region=…&endpoint_override=…``); a URL with a secret in it is refused, since it would be stored
with every run. A server that does not answer, or that asks for less, is asked again.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload
from urllib.parse import unquote

from c2vl.support.errors import NotShared, StorageAway, UserError, first_line

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Location = Path | str
"""A folder of this machine (a path), or a folder at a URL (a text)."""

PATIENCE = 60.0
"""Seconds without progress after which a server is given up."""
_LONGEST_WAIT = 5.0  # seconds between two requests
_PROBE = ".c2vl-probe"
_PART = 8 << 20  # bytes of a request: large against the latency, small enough to be repeated
_REQUESTS = 6  # at a time; one connection seldom fills a network
_S3 = {"request_timeout": 20.0, "connect_timeout": 5.0, "allow_delayed_open": True}
"""PyArrow's 3 and 1 seconds are too few for a loaded server; a small file is one request."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET = re.compile(
    r"://[^/?#]*:[^/?#]*@|[?&][^=&#]*(?:key|secret|token|password|signature|\bsig)[^=&#]*=", re.I
)
_REFUSED = (
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID",
    "EXPIRED_TOKEN", "MISSING_AUTHENTICATION_TOKEN", "UNRECOGNIZED_CLIENT", "HTTP status 401",
    "HTTP status 403", "ExpiredToken", "AuthenticationFailed", "AuthorizationFailure",
)  # fmt: skip
_ABSENT = ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "Bucket not found", "HTTP status 404")
_ELSEWHERE = ("HTTP status 301", "AuthorizationHeaderMalformed", "PermanentRedirect")


def is_url(text: str) -> bool:
    """Tell whether a text has a scheme, like ``s3://bucket/folder``."""
    return bool(_SCHEME.match(text))


def holds_secret(url: str) -> bool:
    """Tell whether a URL has a password or a key in it."""
    return bool(_SECRET.search(url))


def parse_location(value: Any) -> Location:
    """Return a path, or a URL without a slash at its end; ``file:///folder`` is a path.

    ``~`` at its start is the home folder: no shell expands that of ``data.store=~/ntu60``.

    Raises:
        UserError: it is neither, or the URL holds a secret.
    """
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise UserError("expected a folder, or the URL of one")
    if not is_url(value):
        return at_home(value)
    if found := _SECRET.search(value):
        raise UserError(
            f"{value[: found.start()]}…: holds a secret, which would be stored with every run; "
            "give it by the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, say)"
        )
    if value.startswith("file:///"):
        return Path(unquote(value.removeprefix("file://")))
    place, question, options = value.partition("?")
    if not place.partition("://")[2].strip("/"):
        raise UserError(f"{value}: names no folder; give one, like s3://bucket/folder")
    return place.rstrip("/") + question + options


def at_home(path: str) -> Path:
    """Return a path with ``~`` at its start replaced by the home folder, where that is known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)


def absolute(location: Location) -> Location:
    """Return a location that means the same in any working directory."""
    return location if isinstance(location, str) else location.absolute()


@overload
def below(location: Path, name: str) -> Path: ...
@overload
def below(location: str, name: str) -> str: ...
def below(location: Location, name: str) -> Location:
    """Return the place of a name below a location."""
    if isinstance(location, Path):
        return location / name
    place, question, options = location.partition("?")
    return f"{place}/{name}{question}{options}"


@cache
def require_reachable(url: str, says: str, patience: float) -> None:
    """Check, once a process, that this node reads a file at a URL and may write beside it.

    Args:
        says: what stands in it.
        patience: seconds without an answer after which the server is given up.

    Raises:
        NotShared: it cannot, or finds another file there.
    """
    place, question, options = url.partition("?")
    folder, _, name = place.rpartition("/")
    remote = RemoteFolder(folder + question + options, patience)
    try:
        if remote.read(name) != says.encode():
            raise NotShared(f"{url}: is another one there; give the node the same endpoint")
        remote.require_writable()
    except (UserError, FileNotFoundError) as error:
        why = f"{url}: is not there" if isinstance(error, FileNotFoundError) else error
        raise NotShared(f"node {socket.gethostname()}: {why}") from None


class RemoteFolder:
    """A folder at a URL. Every method asks again, for a minute without progress, before it fails.

    All raise :class:`.UserError` where the region is wrong or missing, and :class:`.StorageAway`
    where access is refused or the server does not answer; names are relative, with slashes.

    Args:
        patience: seconds without progress after which the server is given up; after that, each
            call asks once.
    """

    def __init__(self, url: str, patience: float | None = None) -> None:
        self.url, self._patience = url, patience

    def read(self, name: str) -> bytes:
        """Return a small file's content.

        Raises:
            FileNotFoundError: it is absent, or the whole folder is.
        """

        def read() -> bytes:
            with self._system.open_input_file(self._path(name)) as file:
                return bytes(file.read())

        return self._patiently(read)

    def files(self, below: str = "") -> dict[str, int]:
        """List all files below a folder; returns name → bytes."""
        return {name: size for name, (size, _) in self.listing(below).items()}

    def listing(self, below: str = "", *, deep: bool = True) -> dict[str, tuple[int, float]]:
        """List the files below a folder; returns name → bytes, seconds since 1970 of its change.

        Args:
            deep: those of its folders too.
        """
        from pyarrow.fs import FileType

        start = len(self._opened[1].rstrip("/")) + 1
        return {
            one.path[start:]: (one.size, one.mtime_ns / 1e9 if one.mtime_ns else 0.0)
            for one in self._select(below, deep=deep)
            if one.type == FileType.File
        }

    def folders(self) -> list[str]:
        """Return the names of the folders in this one, sorted."""
        from pyarrow.fs import FileType

        found = self._select("", deep=False)
        return sorted(one.base_name for one in found if one.type == FileType.Directory)

    def _select(self, below: str, *, deep: bool) -> Any:
        from pyarrow.fs import FileSelector

        selected = FileSelector(self._path(below), allow_not_found=True, recursive=deep)
        return self._patiently(lambda: self._system.get_file_info(selected))

    def changed(self, name: str) -> float | None:
        """Return when a file was changed, in seconds since 1970; None if it is absent."""
        from pyarrow.fs import FileType

        found = self._patiently(lambda: self._system.get_file_info(self._path(name)))
        return found.mtime_ns / 1e9 if found.type == FileType.File else None

    def fetch(self, name: str, size: int, target: Path, done: Callable[[int], None]) -> None:
        """Copy a file to ``target``, after the bytes that it has.

        Args:
            size: bytes of the file.
            done: called with the number of bytes that have come, as they come.
        """
        from concurrent.futures import ThreadPoolExecutor

        with target.open("ab") as out, ThreadPoolExecutor(_REQUESTS) as pool:
            there = out.tell()
            if there > size:
                out.truncate(there := 0)
            done(there)
            file = self._patiently(lambda: self._system.open_input_file(self._path(name)))

            def read(start: int) -> bytes:
                wanted = min(_PART, size - start)

                def once() -> bytes:
                    part = bytes(file.read_at(wanted, start))
                    if len(part) != wanted:
                        raise OSError(f"{len(part)} of {wanted} bytes came")
                    return part

                return self._patiently(once)

            starts = iter(range(there, size, _PART))
            waiting = deque(pool.submit(read, start) for start in islice(starts, _REQUESTS))
            try:
                while waiting:
                    part = waiting.popleft().result()
                    waiting.extend(pool.submit(read, start) for start in islice(starts, 1))
                    out.write(part)
                    done(len(part))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def send(self, source: Path, name: str) -> None:
        """Copy a file of this machine here."""
        with source.open("rb") as file:

            def send() -> None:
                file.seek(0)
                self._write(name, iter(lambda: file.read(_PART), b""))

            self._patiently(send)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        self._patiently(lambda: self._write(name, [data]))

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        if self._system.type_name not in ("s3", "gcs"):  # those have no folders to be made
            self._system.create_dir(self._path(name).rpartition("/")[0], recursive=True)
        with self._system.open_output_stream(self._path(name)) as out:
            for part in parts:
                out.write(part)

    def require_writable(self) -> None:
        """Check that files can be written here, before long work; leaves none.

        Raises:
            UserError: there is no such bucket, or access is refused.
        """
        try:
            self.write(_PROBE, b"")
        except FileNotFoundError as error:
            raise UserError(f"{self.url}: cannot be written ({error}); make the bucket") from None
        self.delete(_PROBE)

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens where there is none."""
        with suppress(FileNotFoundError):
            self._patiently(lambda: self._system.delete_file(self._path(name)))

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all that is in it; nothing happens where there is none."""
        with suppress(FileNotFoundError):
            self._patiently(lambda: self._system.delete_dir(self._path(name)))

    def __str__(self) -> str:
        return self.url

    @property
    def _system(self) -> Any:
        return self._opened[0]

    def _path(self, name: str) -> str:
        folder = self._opened[1].rstrip("/")
        return f"{folder}/{name}" if name else folder

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the folder's path in it."""
        from pyarrow import ArrowInvalid
        from pyarrow.fs import FileSystem

        try:
            found: tuple[Any, str] = self._patiently(lambda: FileSystem.from_uri(self.url))
        except ArrowInvalid as error:
            if "Unrecognized filesystem type" not in str(error):
                raise UserError(f"{self.url}: {first_line(error)}") from None
            return self._by_fsspec()
        if found[0].type_name == "s3" and "tls_" not in self.url:  # those options would be lost
            make, (options, *_) = found[0].__reduce__()
            return make({**options, **_S3}), found[1]
        return found

    def _by_fsspec(self) -> tuple[Any, str]:
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        try:
            from fsspec.core import url_to_fs

            system, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"{self.url}: {first_line(error)}; s3://, gs://, abfs:// and hdfs:// need "
                "nothing more"
            ) from None
        return PyFileSystem(FSSpecHandler(system)), path

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        """Ask until there is an answer, or no sense in asking again."""
        began, wait = time.monotonic(), 0.5
        while True:
            try:
                return ask()
            except FileNotFoundError:
                raise
            except OSError as error:
                self._refuse_if_final(error)
                waited = time.monotonic() - began
                if waited > (PATIENCE if self._patience is None else self._patience):
                    self._patience = 0.0
                    raise StorageAway(
                        f"{self.url}: no answer for {waited:.0f} s ({_reason(error)}); look at the "
                        "network and at the endpoint (for s3: AWS_ENDPOINT_URL, AWS_DEFAULT_REGION)"
                    ) from None
                if wait == 0.5:
                    log.warning("%s: %s; asking again", self.url, _reason(error))
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _refuse_if_final(self, error: OSError) -> None:
        text = str(error)
        if isinstance(error, PermissionError) or any(word in text for word in _REFUSED):
            raise StorageAway(
                f"{self.url}: access is refused ({_reason(error)}); look at the credentials (for "
                "s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE) and "
                "at what they may do"
            ) from None
        if any(word in text for word in _ELSEWHERE):
            raise UserError(
                f"{self.url}: lies in another region ({_reason(error)}); name it by "
                "AWS_DEFAULT_REGION or ?region=… in the URL"
            ) from None
        if any(word in text for word in _ABSENT):
            raise FileNotFoundError(_reason(error)) from None
        if "libjvm" in text or "libhdfs" in text:
            raise UserError(
                f"{self.url}: needs Java and Hadoop's client on this machine (JAVA_HOME, "
                "HADOOP_HOME, CLASSPATH)"
            ) from None


def _reason(error: OSError) -> str:
    """Return an error in one line, without the request's number."""
    return re.sub(r" \(Request ID: [^)]*\)", "", first_line(error))
