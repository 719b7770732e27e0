"""Stores and concept tables at URLs: copied to this machine to be read, and made here to be sent.

Both are immutable and say their content's checksum in ``manifest.json``. Whoever opens one asks for
the manifest, one small request. The files that belong to it come once for a machine, into its cache
(:meth:`.Cache.of_node`), are compared with the checksums there, and are memory-mapped from there. A
copy that was cut off continues; two processes make one copy; another manifest under the same URL is
another copy. Sending puts the manifest last: until then a reader finds what was there before, or
nothing.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2vl.skeletons.cache import CARD, FOLDER, Cache
from c2vl.support.errors import StorageFull, UserError
from c2vl.support.files import parse_json, write_text
from c2vl.support.progress import progress
from c2vl.support.remote import Location, RemoteFolder

MANIFEST = "manifest.json"
MARK = "upload.json"
"""Names the content whose files are being sent, and goes when they are there."""


@dataclass(frozen=True)
class Kind:
    """What lies at a URL.

    Attributes:
        name: one lower-case word.
        files: from the manifest, the patterns of the names that belong to it.
        owned: patterns of all names that one of another content may have.
        verify: reads a folder whole; raises UserError where it is not what its manifest says.
    """

    name: str
    files: Callable[[dict[str, Any]], tuple[str, ...]]
    owned: tuple[str, ...]
    verify: Callable[[Path], object]


def staged(url: str, kind: Kind) -> Path:
    """Return a folder of this machine with what lies at a URL, copied there if it was not.

    Raises:
        FileNotFoundError: there is no manifest at the URL.
        UserError: access is refused, the server does not answer, the disk is full, or the files
            are not what the manifest says.
    """
    remote, cache = RemoteFolder(url), Cache.of_node()
    text = remote.read(MANIFEST)
    about = _about(url, text)
    entry, _ = cache.entry(kind.name, about)
    cache.hold(entry)
    return cache.get(kind.name, about, lambda folder: _stage(remote, kind, text, folder), _whole)


def _about(url: str, manifest: bytes) -> dict[str, str]:
    return {"url": url, "manifest": hashlib.sha256(manifest).hexdigest()}


def _whole(entry: Path) -> Path:
    """Return an entry's folder; its files were compared with the checksums when they came."""
    if not (entry / MANIFEST).is_file():
        raise FileNotFoundError(entry)
    return entry


def _stage(remote: RemoteFolder, kind: Kind, manifest: bytes, folder: Path) -> None:
    """Copy the files of a manifest into an empty folder, by way of one that stays when killed."""
    cache = Cache.of_node()
    parts, card = cache.entry("part", _about(remote.url, manifest))
    cache.hold(parts)
    try:
        _copy(remote, kind, manifest, parts, card)
        for path in parts.iterdir():
            if path.name != CARD:
                os.rename(path, folder / path.name)
        (folder / MANIFEST).write_bytes(manifest)
        try:
            kind.verify(folder)
        except UserError as error:
            raise UserError(
                f"{remote}: what came is not what its manifest says; it was replaced meanwhile, or "
                f"is damaged there ({error})"
            ) from None
        shutil.rmtree(parts)
    finally:
        cache.release(parts)


def _copy(remote: RemoteFolder, kind: Kind, manifest: bytes, parts: Path, card: str) -> None:
    try:
        described = parse_json(manifest)
        wanted = kind.files(described)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{remote}/{MANIFEST}: no manifest of a {kind.name} ({error})") from None
    sizes = {name: size for name, size in remote.files().items() if _matches(name, wanted)}
    there = {name: path.stat().st_size for name in sizes if (path := parts / name).is_file()}
    missing = sum(sizes.values()) - sum(there.values())
    parts.mkdir(parents=True, exist_ok=True)
    write_text(parts / CARD, card)
    if missing > (free := shutil.disk_usage(parts).free):
        raise StorageFull(
            f"{remote}: {missing / 1e9:.1f} GB are to come, and {parts.parent} has room for "
            f"{free / 1e9:.1f}; name another folder by {FOLDER}"
        )
    came, total = 0, sum(sizes.values())
    with progress(f"MB of {remote}") as shown:

        def done(number: int) -> None:
            nonlocal came
            came += number
            shown(came // 1_000_000, total // 1_000_000)

        for name, size in sizes.items():
            target = parts / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                remote.fetch(name, size, target, done)
            except FileNotFoundError:
                raise UserError(f"{remote}/{name}: went away while it was read") from None


@contextmanager
def made_at(out: Location, kind: Kind, *, fresh: bool = False) -> Iterator[Path]:
    """Yield the folder in which to make what shall lie at ``out``: itself, or one to send to a URL.

    The latter has what lies at the URL now, and stays when the block fails or is killed, so that
    the same command continues.

    Args:
        fresh: what lies there is to be replaced, whatever it is.

    Raises:
        UserError: as :func:`staged`, or another process of this machine makes the same.
    """
    if isinstance(out, Path):
        yield out
        return
    remote, cache = RemoteFolder(out), Cache.of_node()
    remote.require_writable()
    work, card = cache.entry("made", {"url": out})
    try:
        cache.hold(work, alone=True)
    except BlockingIOError:
        raise UserError(f"{out}: another process is making this ({work})") from None
    try:
        folder = work / (out.partition("?")[0].rpartition("/")[2] or "made")
        work.mkdir(parents=True, exist_ok=True)
        write_text(work / CARD, card)
        if not folder.exists() and not fresh:
            with suppress(FileNotFoundError):
                there = staged(out, kind)
                shutil.copytree(
                    there, folder, copy_function=os.link, ignore=shutil.ignore_patterns(CARD)
                )
        try:
            yield folder
        except UserError as error:
            raise type(error)(str(error).replace(f"{folder}:", f"{out}:")) from None
        send(folder, remote, kind.owned)
        _keep(folder, out, kind)
        shutil.rmtree(work)
    finally:
        cache.release(work)


def _keep(folder: Path, url: str, kind: Kind) -> None:
    """Take what was sent into this machine's cache: it need not come back."""

    def link(entry: Path) -> None:
        shutil.copytree(folder, entry, copy_function=os.link, dirs_exist_ok=True)

    about = _about(url, (folder / MANIFEST).read_bytes())
    Cache.of_node().get(kind.name, about, link, _whole)


def send(folder: Path, remote: RemoteFolder, owned: tuple[str, ...], last: str = MANIFEST) -> None:
    """Send a folder's files, and then the one that makes them current.

    What a killed call has sent is not sent again. Where the same files are there already with other
    content, ``last`` is deleted first.

    Args:
        owned: patterns of the names that belong here; of those, what ``folder`` lacks is deleted.
        last: name of the file that goes last.
    """
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _matches(str(path.relative_to(folder)), owned)
    }
    current = (folder / last).read_bytes()
    if _read(remote, last) == current:
        return
    mark = hashlib.sha256(current).hexdigest()
    there = {name: size for name, size in remote.files().items() if _matches(name, owned)}
    if _read(remote, MARK) != mark.encode():
        replaced = (files.keys() & there.keys()) - {last}
        for name in [last, *replaced] if replaced else []:
            remote.delete(name)
            there.pop(name, None)
        remote.write(MARK, mark.encode())
    with progress(f"files to {remote}") as shown:
        for number, (name, size) in enumerate(files.items()):
            shown(number, len(files))
            if name != last and there.get(name) != size:
                remote.send(folder / name, name)
    remote.send(folder / last, last)
    for name in [*(there.keys() - files.keys()), MARK]:
        remote.delete(name)


def _read(remote: RemoteFolder, name: str) -> bytes | None:
    try:
        return remote.read(name)
    except FileNotFoundError:
        return None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
