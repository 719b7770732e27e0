"""Checkpoints and the run's folder: atomic files that an interrupted run continues from."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from c2vl.support.errors import UserError, first_line
from c2vl.support.files import write_text

WARNINGS, ERROR = "warnings.txt", "error.json"
_OF_A_TRAINING = ("checkpoints", "metrics.jsonl", "encoder", "done.json")
BROKEN = (pickle.UnpicklingError, zipfile.BadZipFile)


def save(folder: Path, state: dict[str, Any], *, step: int, keep: int) -> Path:
    """Write ``step-00000012.pt`` in ``folder``, then drop all but the latest ``keep``.

    Args:
        folder: made where absent.
        state: tensors and builtin containers alone, so that loading needs no pickle of code.
        step: optimizer steps done.
        keep: how many to keep.

    Raises:
        OSError: it cannot be written; the checkpoints that are there stay as they are.
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
        The state (None where there is none: training starts at the beginning), and a line for each
        newer file that could not be read.
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
    # PyTorch reads a tensor with a flipped bit without a word; its own checksums are in the file.
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def warn(folder: Path, lines: list[str]) -> None:
    """Add lines to ``warnings.txt`` of a run, for whoever looks after it from elsewhere."""
    if lines:
        with (folder / WARNINGS).open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))


class MetricsFile:
    """``metrics.jsonl`` of a run: one line an epoch, each epoch once, also over resumes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows = read_metrics(path)
        if path.exists():  # a line that was cut by a kill is dropped before more are added
            write_text(path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Append a row unless its epoch is there; return the row that stands in the file."""
        if self.rows and row["epoch"] <= self.rows[-1]["epoch"]:
            return next(old for old in self.rows if old["epoch"] == row["epoch"])
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.jsonl``; a last line that was cut short is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def claim(folder: Path, resolved: str) -> None:
    """Make a run's folder, or check that it belongs to the same experiment.

    Args:
        folder: the run's folder.
        resolved: the resolved experiment as YAML.

    Raises:
        UserError: the folder holds another experiment, or cannot be written.
    """
    refuse_another(folder, resolved)
    if not (folder / "experiment.yaml").exists():
        write_text(folder / "experiment.yaml", resolved)


def refuse_another(folder: Path, resolved: str) -> None:
    """See that a run's folder is free or belongs to the same experiment; nothing is written.

    Raises:
        UserError: the folder holds another experiment.
    """
    path = folder / "experiment.yaml"
    if path.exists() and path.read_text(encoding="utf-8") != resolved:
        raise UserError(
            f"{folder}: holds a run with other settings (see its experiment.yaml); "
            "choose another folder, or remove this one"
        )


def reopen(folder: Path, resolved: str) -> None:
    """Forget the error that the last start of a run ended with.

    Where that start came to no epoch, its settings are forgotten too: what was wrong in them is
    put right by others, and there is nothing yet that these could not go on from.

    Args:
        folder: the run's folder; it need not exist.
        resolved: the resolved experiment as YAML.

    Raises:
        UserError: the folder holds another experiment.
    """
    failed = (folder / ERROR).exists()
    if failed and not any((folder / name).exists() for name in _OF_A_TRAINING):
        (folder / "experiment.yaml").unlink(missing_ok=True)
    refuse_another(folder, resolved)
    if failed:
        (folder / ERROR).unlink(missing_ok=True)


def abandon(folder: Path, *, made: bool) -> None:
    """Leave nothing of a start that a mistake ended before the folder was claimed.

    Args:
        folder: the run's folder.
        made: it was not there before that start.
    """
    if (folder / "experiment.yaml").exists():
        return
    if made:
        shutil.rmtree(folder, ignore_errors=True)
    elif (folder / ERROR).exists():
        (folder / ERROR).unlink()


def drop_checkpoints(folder: Path, *, keep: int = 0) -> None:
    """Remove the checkpoints of a run that is done, but the newest ``keep``."""
    if keep == 0:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return
    for old in sorted((folder / "checkpoints").glob("step-*.pt"))[:-keep]:
        old.unlink(missing_ok=True)


def drop_encoder(folder: Path) -> None:
    """Remove the encoder of a run that is done; its figures stay."""
    shutil.rmtree(folder / "encoder", ignore_errors=True)
