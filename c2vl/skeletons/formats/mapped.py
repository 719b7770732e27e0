"""Maps large files into memory, whether they stand alone or uncompressed in a zip."""

from __future__ import annotations

import mmap
import struct
import zipfile
from pathlib import Path
from typing import IO

from c2vl.skeletons.formats.raw_files import DAMAGE, RawFile, UnreadableError, refuse_stand_in
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.files import START

_LOCAL = struct.Struct("<4s5H3I2H")  # a zip's header before the content of a member
MOST_INFLATION = 200
"""Times that real arrays, mostly zeros, get smaller in a zip; what inflates more is a bomb."""


def offset_on_disk(file: RawFile) -> int | None:
    """Return the offset of the content in ``file.path``, or None when it is compressed."""
    if file.member is None:
        return 0
    try:
        with zipfile.ZipFile(file.path) as archive, file.path.open("rb") as raw:
            return stored_at(raw, archive.getinfo(file.member))
    except DAMAGE as error:
        raise UnreadableError(f"in {file.path.name}: {error}") from None


def stored_at(raw: IO[bytes], member: zipfile.ZipInfo) -> int | None:
    """Return where an archive's member starts, or None when it is compressed or encrypted.

    Raises:
        RejectedError: the archive's two descriptions of it do not agree.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return None
    raw.seek(member.header_offset)
    header = raw.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise RejectedError(f"the archive is damaged at {member.filename}")
    name, extra = _LOCAL.unpack(header)[-2:]
    start = member.header_offset + _LOCAL.size + int(name) + int(extra)
    end = raw.seek(0, 2)
    if member.file_size != member.compress_size or start + member.file_size > end:
        raise RejectedError(f"the archive is damaged at {member.filename}")
    return start


def check_inflation(member: zipfile.ZipInfo) -> None:
    """Refuse a member of an archive that is far larger than real data could get."""
    if member.file_size > MOST_INFLATION * max(member.compress_size, 1) + (1 << 20):
        raise RejectedError(
            f"{member.filename} inflates {member.file_size // max(member.compress_size, 1)}-fold; "
            f"real arrays do at most {MOST_INFLATION}-fold"
        )


def map_file(path: Path) -> memoryview:
    """Map a file into memory."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def view(file: RawFile, limit: int) -> memoryview:
    """Return the content: mapped if it is stored uncompressed, else inflated.

    Args:
        limit: most bytes to inflate.
    """
    start = offset_on_disk(file)
    if start is None:
        return memoryview(file.read(limit))
    content = map_file(file.path)[start : start + file.size]
    refuse_stand_in(bytes(content[:START]))
    return content
