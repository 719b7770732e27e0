"""Finds and reads raw files, on disk or inside zip archives, and unpacks nothing."""

from __future__ import annotations

import functools
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from c2vl.support.errors import UserError
from c2vl.support.files import START, stand_in

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
)
"""What ``zipfile`` raises on archives that are damaged, or encrypted or packed in a way that it
does not know (kinds of RuntimeError)."""


class UnreadableError(OSError):
    """A file that cannot be read as what it is: damaged, encrypted, too large."""


@dataclass(frozen=True)
class RawFile:
    """A file of a dataset, on disk or in an archive.

    Attributes:
        name: relative to the source, with slashes; inside an archive ``archive.zip/path/in/it``.
        path: the file, or the archive that holds it as ``member``.
        size: bytes, uncompressed.
        stamp: time of change in ns, or the checksum that the archive gives.
    """

    name: str
    path: Path
    member: str | None
    size: int
    stamp: int

    @property
    def base(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The name without its last part."""
        return self.name.rpartition("/")[0]

    def open(self) -> IO[bytes]:
        """Open for reading from the start.

        Raises:
            UnreadableError: something else lies in its place.
        """
        file = self._open()
        try:
            refuse_stand_in(file.read(START))
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _open(self) -> IO[bytes]:
        if self.member is None:
            return self.path.open("rb")
        try:
            stat = self.path.stat()
            archive = _archive(self.path, stat.st_mtime_ns)
            check_extent(archive.getinfo(self.member), stat.st_size)
            return archive.open(self.member)
        except DAMAGE as error:
            raise UnreadableError(f"in {self.path.name}: {error}") from None

    def read(self, limit: int) -> bytes:
        """Return the content.

        Args:
            limit: most bytes that a sound file can have; an archive that inflates to more, whatever
                it says of itself, stops there.
        """
        if self.size > limit:
            raise UnreadableError(f"larger than {limit} bytes")
        try:
            with self.open() as file:
                content = file.read(limit + 1)
        except DAMAGE as error:
            raise UnreadableError(f"damaged in {self.path.name}: {error}") from None
        if len(content) > limit:
            raise UnreadableError(f"larger than {limit} bytes")
        return content

    def start(self, size: int) -> bytes:
        """Return the first bytes; nothing when the file cannot be read."""
        try:
            with self.open() as file:
                return file.read(size)
        except (OSError, *DAMAGE):
            return b""


def refuse_stand_in(start: bytes) -> None:
    """Refuse a file whose first bytes are those of something else that lies in its place.

    Raises:
        UnreadableError: the message has the remedy.
    """
    if told := stand_in(start):
        raise UnreadableError(told)


@functools.lru_cache(maxsize=8)  # to read the directory of 56,880 files takes a second
def _archive(path: Path, stamp: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def check_extent(member: zipfile.ZipInfo, size: int) -> None:
    """Refuse a member of an archive that would reach past its end: ``zipfile`` allocates all of it.

    Raises:
        UnreadableError: it would.
    """
    if member.header_offset + member.compress_size > size:
        raise UnreadableError(f"damaged: {member.filename} reaches past the end of its archive")


def list_files(source: Path) -> list[RawFile]:
    """Return all files below a folder, and those inside its zip archives, sorted by name.

    Raises:
        UserError: there is nothing, or an archive cannot be opened.
    """
    if source.is_file() and source.suffix.lower() == ".zip":
        found = list(_members(source, ""))
    elif source.is_dir():
        found = list(_walk(source))
    elif source.is_file():
        stat = source.stat()
        found = [RawFile(source.name, source, None, stat.st_size, stat.st_mtime_ns)]
    else:
        raise UserError(f"{source}: no such folder or file")
    return sorted(found, key=lambda file: file.name)


def _walk(source: Path) -> Iterator[RawFile]:
    """List a folder; with ``scandir``, since a dataset has a hundred thousand files."""
    folders = [(os.fspath(source), "")]
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                relative = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, relative + "/"))
                elif entry.is_file() and entry.name.lower().endswith(".zip"):
                    yield from _members(Path(entry.path), relative + "/")
                elif entry.is_file():
                    stat = entry.stat()
                    yield RawFile(relative, Path(entry.path), None, stat.st_size, stat.st_mtime_ns)


def _members(path: Path, prefix: str) -> Iterator[RawFile]:
    """List an archive; nothing is ever unpacked, so where its names point does not matter."""
    try:
        entries = _archive(path, path.stat().st_mtime_ns).infolist()
    except (OSError, *DAMAGE) as error:
        raise UserError(f"{path}: not a zip archive that can be read: {error}") from None
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if not parts or hidden or entry.filename.startswith(("/", "\\")) or entry.is_dir():
            continue
        name = prefix + "/".join(parts)
        yield RawFile(name, path, entry.filename, entry.file_size, entry.CRC)
