"""Sequences from files of raw joints: arrays, or a dataset's own format through its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from c2vl.encoder.joints import Joints
from c2vl.skeletons.axes import Conversion, require_bodies
from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError

_MOST = 1 << 30  # bytes; hours of a few bodies


def read_sequences(
    path: Path,
    reader: str | None,
    layout: JointLayout,
    *,
    up: str | None = None,
    unit: str | None = None,
) -> list[tuple[str, Joints]]:
    """Read the sequences of a file, in metres with y up.

    Args:
        path: ``.npy`` of (T, V, 3) or (M, T, V, 3), or, with ``reader``, a file or folder in a
            dataset's format.
        reader: name of the dataset's reader.
        layout: of the encoder that they are for.
        up: the axis that points up in the file; y when not given.
        unit: of the file's numbers; the reader's, or metres, when not given.

    Returns:
        Name and joints of each.

    Raises:
        UserError: it cannot be read as that, or bodies lie along another axis than y or are of no
            body's size.
    """
    if reader is None:
        conversion = Conversion.of(up or "y", unit or "m")
        given = _array(path)
        found = [(path.stem, conversion(given) if given.shape[-1:] == (3,) else given)]
    else:
        found, conversion = _by_reader(path, reader, up, unit)
    bodies = [_bodies(joints) for _, joints in found]
    wanted = (len(layout.joints), 3)
    usual = [
        one
        for one in bodies
        if one.dtype.kind in "fiu" and one.shape[2:] == wanted and np.isfinite(one).all()
    ]
    try:  # others are refused by the encoder
        require_bodies(usual, layout, conversion, up=up, unit=unit)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return found


def _bodies(joints: Joints) -> Any:
    """Return joints as (M, T, V, 3) where they have such a form."""
    return joints[None] if joints.ndim == 3 else joints


def _by_reader(
    path: Path, reader: str, up: str | None, unit: str | None
) -> tuple[list[tuple[str, Joints]], Conversion]:
    """Read a file or folder in a dataset's format."""
    from c2vl.skeletons.datasets import Options, Rejected, get_reader, read_item

    chosen, options = get_reader(reader), Options(up=up, unit=unit)
    conversion = chosen.conversion(options)
    try:
        items = chosen.discover(path if path.is_dir() else path.parent, options).items
    except UserError as error:
        if path.is_dir():
            raise
        raise UserError(f"{path}: cannot be read as {chosen.title}: {error}") from None
    found: list[tuple[str, Joints]] = []
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
    return found, conversion


def _array(path: Path) -> Joints:
    """Read a ``.npy`` without trust: what its header claims has to be there."""
    from c2vl.skeletons.formats.npy import ArrayFile
    from c2vl.skeletons.formats.raw_files import RawFile
    from c2vl.skeletons.rejected import RejectedError

    try:
        stat = path.stat()
        file = RawFile(path.name, path, None, stat.st_size, stat.st_mtime_ns)
        joints: Any = ArrayFile(file).read(_MOST)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(
            f"{path}: is a folder; name the file, or the reader of such folders: --reader ntu60"
        ) from None
    except (RejectedError, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(
            f"{path}: cannot be read as .npy ({reason}); give one array of numbers, "
            "(frames, joints, 3) or (bodies, frames, joints, 3); for a dataset's own files name "
            "its reader: --reader ntu60"
        ) from None
    return np.asarray(joints)
