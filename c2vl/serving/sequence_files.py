"""Sequences from files of raw joints: arrays, or a dataset's own format through its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from c2vl.encoder.joints import Joints
from c2vl.support.errors import UserError

_MOST = 1 << 30  # bytes; hours of a few bodies


def read_sequences(path: Path, reader: str | None) -> list[tuple[str, Joints]]:
    """Read the sequences of a file.

    Args:
        path: ``.npy`` of (T, V, 3) or (M, T, V, 3) metres, or, with ``reader``, a file or folder in
            a dataset's format.
        reader: name of the dataset's reader.

    Returns:
        Name and joints of each.

    Raises:
        UserError: it cannot be read as that.
    """
    if reader is None:
        return [(path.stem, _array(path))]
    from c2vl.skeletons.datasets import Options, Rejected, get_reader, read_item

    chosen, options = get_reader(reader), Options()
    conversion = chosen.conversion(options)
    try:
        items = chosen.discover(path if path.is_dir() else path.parent, options).items
    except UserError as error:
        if path.is_dir():
            raise
        raise UserError(f"{path}: cannot be read as {chosen.title}: {error}") from None
    found = []
    for item in items:
        if not path.is_dir() and Path(item.file.name).name != path.name:
            continue
        for one in read_item(chosen.read, item, conversion):
            if isinstance(one, Rejected):
                raise UserError(
                    f"{path}: {one.reason}" + (f" (line {one.line})" if one.line else "")
                )
            found.append((one.id, one.joints))
    if not found:
        raise UserError(f"{path}: nothing here that {chosen.title} expects ({chosen.expects})")
    return found


def _array(path: Path) -> Joints:
    """Read a ``.npy`` without trust: what its header claims has to be there."""
    from c2vl.skeletons.formats.npy import ArrayFile
    from c2vl.skeletons.formats.raw_files import RawFile
    from c2vl.skeletons.rejected import RejectedError

    try:
        stat = path.stat()
        file = RawFile(path.name, path, None, stat.st_size, stat.st_mtime_ns)
        joints: Any = ArrayFile(file).read(_MOST)
    except (RejectedError, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(
            f"{path}: cannot be read as .npy ({reason}); give one array of numbers in metres, "
            "(frames, joints, 3) or (bodies, frames, joints, 3); for a dataset's own files name "
            "its reader: --reader ntu60"
        ) from None
    return np.asarray(joints)
