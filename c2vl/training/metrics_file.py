"""A run's figures: ``metrics.jsonl``, a line of JSON an epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.support.files import write_text


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the epochs of a file, which need not exist; see :func:`parse_rows`."""
    return parse_rows(path.read_text(encoding="utf-8")) if path.exists() else []


def parse_rows(text: str) -> list[dict[str, Any]]:
    """Parse lines of JSON, up to one that a killed process left incomplete."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def table_of(text: bytes, names: Sequence[str]) -> NDArray[np.float64]:
    """Return some figures by epoch, without making objects of the others.

    Args:
        text: of the file.
        names: of the columns.

    Returns:
        (epochs, names), NaN where a row lacks a figure.
    """
    if not text.endswith(b"}"):  # without a line that a killed process left incomplete
        text = text[: text.rfind(b"\n") + 1]
    found = np.full((text.count(b"}"), len(names)), np.nan)  # no row has a nested value
    ends = None
    for place, name in enumerate(names):
        key = b'"%s": ' % name.encode()
        before, *parts = text.split(key)  # a regular expression takes half as long again
        values = [float(part.partition(b",")[0].partition(b"}")[0]) for part in parts]
        rows: slice | NDArray[np.int64] = slice(None)
        if len(values) < len(found):  # validation figures, for example
            if ends is None:
                ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
            lengths = [len(before), *(len(key) + len(part) for part in parts[:-1])]
            rows = np.searchsorted(ends, np.cumsum(lengths)[: len(parts)])
        found[rows, place] = values
    return found


class MetricsFile:
    """Writes a run's figures, each epoch once even if training resumes.

    Attributes:
        rows: the epochs in the file.
    """

    def __init__(self, path: Path, known: str = "") -> None:
        """Open the file.

        Args:
            path: of the file, which need not exist.
            known: the file's text when the checkpoint was written that training resumes from.
                The file is behind that where, at a URL, a process that was thought lost has sent
                its own, older one.
        """
        self._path, self.rows = path, max(read_rows(path), parse_rows(known), key=len)
        if self._path.exists() or known:  # drop a last line that a killed process left incomplete
            write_text(self._path, self.text())

    def text(self) -> str:
        """Return the whole file."""
        return "".join(json.dumps(row) + "\n" for row in self.rows)

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Append a row unless the file has its epoch; return the row in the file."""
        if self.rows and row["epoch"] <= self.rows[-1]["epoch"]:
            return next(old for old in self.rows if old["epoch"] == row["epoch"])
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row
