"""What a reader says of a file, or a part of one, that it cannot use."""

from __future__ import annotations

from dataclasses import dataclass


class RejectedError(ValueError):
    """A file, or a part of one, cannot be used.

    Args:
        reason: what ``rejected.csv`` says.
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
