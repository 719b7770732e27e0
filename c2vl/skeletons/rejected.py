"""Files, and parts of files, that a reader cannot use: the error, and the table of all of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from c2vl.support.files import replacing


class RejectedError(ValueError):
    """A file, or a part of one, cannot be used.

    Args:
        reason: why, as ``rejected.csv`` shows it.
        line: the line of a text file, from 1.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class Rejected:
    """Something that did not become a sequence: a row of ``rejected.csv``.

    Attributes:
        file: the file, and which part of it, relative to the source.
        reason: why.
        line: the line of a text file, from 1.
        left_out: a rule of the dataset leaves it out (nobody is seen, an official list names it).
            This is no damage and does not count against ``--max-rejected``.
    """

    file: str
    reason: str
    line: int | None = None
    left_out: bool = False

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""
        return f"{self.file}{where}: {self.reason}"


def write_rejected(path: Path, rejected: list[Rejected]) -> None:
    """Write the table of what did not become a sequence."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["file", "line", "reason", "left_out"])
    for one in rejected:
        rows.writerow([one.file, one.line or "", one.reason, "yes" if one.left_out else ""])
    with replacing(path) as file:
        file.write(text.getvalue().encode(errors="backslashreplace"))


def read_rejected(path: Path) -> list[Rejected]:
    """Read what :func:`write_rejected` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Rejected(row[0], row[2], int(row[1]) if row[1] else None, bool(row[3]))
            for row in list(csv.reader(file))[1:]
        ]
