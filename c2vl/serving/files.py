"""Sequences from files of raw joints: arrays, or a dataset's own format through its reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2vl.encoder.joints import Joints
from c2vl.errors import UserError


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
        try:
            joints = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path}: cannot be read as .npy ({error}); for a dataset's own files name its "
                "reader: --reader ntu60"
            ) from None
        if not isinstance(joints, np.ndarray):
            raise UserError(f"{path}: give one .npy array, not an archive")
        return [(path.stem, joints)]
    from c2vl.skeletons.readers import Options, Rejected, get_reader, read_item

    chosen = get_reader(reader)
    folder = path if path.is_dir() else path.parent
    found = []
    for item in chosen.discover(folder, Options()).items:
        if not path.is_dir() and Path(item.file.name).name != path.name:
            continue
        for one in read_item(chosen.read, item):
            if isinstance(one, Rejected):
                raise UserError(
                    f"{path}: {one.reason}" + (f" (line {one.line})" if one.line else "")
                )
            found.append((one.id, one.joints))
    if not found:
        raise UserError(f"{path}: nothing here that {chosen.title} expects ({chosen.expects})")
    return found
