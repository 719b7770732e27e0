"""Checkpoints: atomic files that an interrupted training continues from."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from c2vl.support.errors import first_line

BROKEN = (pickle.UnpicklingError, zipfile.BadZipFile)


def save(folder: Path, state: dict[str, Any], *, step: int, keep: int) -> Path:
    """Write ``step-00000012.pt`` in ``folder``, then drop all but the latest ``keep``.

    Args:
        folder: created if absent.
        state: tensors and builtin containers alone, so that loading needs no pickle of code.
        step: optimizer steps done.
        keep: how many to keep.

    Raises:
        OSError: the file cannot be written; existing checkpoints are left unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    partial = folder / f".{path.name}.{os.getpid()}"
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    for old in sorted(folder.glob("step-*.pt"))[:-keep]:
        old.unlink()
    return path


def latest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the newest readable checkpoint.

    Returns:
        The state, or None where no checkpoint is readable (training then starts from step 0); and
        a line for each newer file that could not be read.
    """
    lines: list[str] = []
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        try:
            state = _load(path)
        except (OSError, RuntimeError, EOFError, ValueError, *BROKEN) as error:
            lines.append(f"{path}: cannot be read ({first_line(error)})")
            continue
        return state, [f"{line}; the one before is used, {path.name}" for line in lines]
    return None, [f"{line}; training starts at the beginning" for line in lines]


def _load(path: Path) -> dict[str, Any]:
    # PyTorch loads a tensor with a flipped bit without an error; the file has checksums of its own.
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
