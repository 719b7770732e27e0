"""Writes files and folders whole or not at all: under a temporary name, then renamed.

Every function that writes raises :class:`.UserError` where it cannot write, with the path.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from c2vl.support.errors import NotShared, StorageFull, UserError, is_disk_full

NETWORK_SECONDS = 5.0  # a network file system may answer late
_STAND_INS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file: run `git lfs pull` there",
    b"<!doctype html": "a web page, not the file: download it again (a page to log in?)",
    b"<html": "a web page, not the file: download it again (a page to log in?)",
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip",
}
"""Starts of what downloads leave in place of data, none of whose formats begins so."""
START = 64
"""Bytes that tell what lies in place of a file."""
_REPLACED = {
    "features.npy": ["*"],  # a concept table
    "encoder.json": ["*"],
    "index.json": ["*"],
    "head.json": ["*"],
    "manifest.json": ["data-*", "cache"],  # a store
    "metrics.jsonl": ["checkpoints", "encoder"],  # a run
}
"""The file that tells what a folder is: names below it that commands replace or delete."""
_PARTIAL = ".tmp-"  # prefix of names that are still being written


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that somebody else wrote.

    Raises:
        ValueError: it is not JSON, or nests too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def stand_in(start: bytes) -> str:
    """Say by its first bytes what lies in a file's place, with the remedy; else empty."""
    beginning = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    return next((told for known, told in _STAND_INS.items() if beginning.startswith(known)), "")


def require_itself(path: Path) -> None:
    """Refuse a file in whose place something else lies.

    Raises:
        UserError: it does; the message has the remedy.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if told := stand_in(file.read(START)):
            raise UserError(f"{path}: {told}")


def require_local(path: str) -> None:
    """Refuse the address of an object store, which would become a local folder of that name.

    Raises:
        UserError: it has a scheme, like ``s3://bucket/folder``.
    """
    if "://" in path:
        raise UserError(
            "storage by address does not work here, only folders do (stores, concept tables, "
            "encoders, runs and sweeps may lie at a URL); mount it (rclone mount, s3fs, gcsfuse) "
            "or copy it, and name that folder"
        )


def require_shared(file: Path, says: str) -> None:
    """Check that this node sees the folder that all nodes share, by a file that another one wrote.

    Args:
        says: what stands in it.

    Raises:
        NotShared: it is absent here, or another one.
    """
    deadline = time.monotonic() + NETWORK_SECONDS
    while not (file.is_file() and file.read_text(encoding="utf-8") == says):
        if time.monotonic() > deadline:
            raise NotShared(
                f"node {socket.gethostname()}: {file.parent} is not the folder that the others "
                "see; mount the same folder (NFS or the like) at that path on every node"
            )
        time.sleep(0.2)


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a file to write under a temporary name, which becomes ``path`` if all goes well.

    The bytes reach the disk before the rename does, so that a power cut cannot leave half a file.

    Args:
        mode: who may read and write it.
    """
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(prefix=f"{_PARTIAL}{path.name}-", dir=path.parent)
        with open(number, "w+b") as file:
            os.fchmod(number, mode)
            yield file
            file.flush()
            os.fsync(number)
        os.replace(partial, path)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        if partial and os.path.exists(partial):
            os.unlink(partial)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file in UTF-8."""
    with replacing(path, mode) as file:
        file.write(text.encode())


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``folder`` if all goes well.

    An existing folder is moved aside first and removed once the new one is in place.
    """
    try:
        with _beside(folder) as partial:
            yield partial
            if not folder.exists():
                os.replace(partial, folder)
                return
            _exchange(partial, folder)
    except OSError as error:
        raise write_error(folder, error) from None


def _exchange(partial: Path, folder: Path) -> None:
    """Replace a folder by another one."""
    old = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{folder.name}-old-", dir=folder.parent))
    try:
        os.replace(folder, old / folder.name)
        try:
            os.replace(partial, folder)
        except BaseException:
            os.replace(old / folder.name, folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def adding_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``folder``, unless another process was first.

    For caches, whose content does not depend on who writes them.
    """
    try:
        with _beside(folder) as partial:
            yield partial
            try:
                os.rename(partial, folder)
            except OSError:
                if not folder.is_dir():
                    raise
    except OSError as error:
        raise write_error(folder, error) from None


def write_error(path: Path, error: OSError) -> UserError:
    """Return the error to raise where ``path`` cannot be written.

    Args:
        error: if it concerns another file (one that was being read), the message names that file.
    """
    kind = StorageFull if is_disk_full(error) else UserError
    why = error.strerror or error
    if isinstance(error.filename, str | bytes):
        named = Path(os.fsdecode(error.filename)).absolute()
        ours = named in (path.absolute(), *path.absolute().parents)
        if not ours and not any(part.startswith(_PARTIAL) for part in named.parts):
            return kind(f"{os.fsdecode(error.filename)}: {why}")
    return kind(f"{path}: cannot be written ({why})")


def require_apart(out: Path) -> None:
    """Refuse a place below something that another command replaces or deletes with all in it.

    Beside the content of a store or of a run there is room: tables and results may lie there.

    Raises:
        UserError: it is such a place; the message names the folder.
    """
    inner = out.absolute()
    for folder in inner.parents:
        for sign, owned in _REPLACED.items():
            name = inner.relative_to(folder).parts[0]
            if any(fnmatch(name, one) for one in owned) and (folder / sign).is_file():
                raise UserError(
                    f"{out}: lies in {folder if owned == ['*'] else folder / name}, which other "
                    "commands replace with all that is in it; give a place outside"
                )


def require_free(out: Path, *, overwrite: bool, known_by: Iterable[str] = ()) -> None:
    """Check that a command may write to its OUT before it starts working.

    Args:
        known_by: file names; a folder with none of them holds something else and is never removed.

    Raises:
        UserError: OUT exists and may not be replaced, or its folder cannot be written.
    """
    require_apart(out)
    if out.exists() and not overwrite:
        raise UserError(f"{out}: is there already; add --overwrite to replace it")
    if out.is_dir() and any(out.iterdir()):
        if not any((out / name).exists() for name in known_by):
            raise UserError(
                f"{out}: holds something else (no {' or '.join(known_by)}), and --overwrite does "
                "not remove that; give another OUT"
            )
    require_writable(out.parent)


def require_writable(folder: Path) -> None:
    """Check that files can be created in a folder, which need not exist, without leaving any.

    For commands that work for long before they write.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(prefix=_PARTIAL, dir=there):
            pass
    except OSError as error:
        raise write_error(folder, error) from None


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside another one; it is removed at the end if it is still there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
