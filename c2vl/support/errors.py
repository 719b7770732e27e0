"""Exceptions for users' mistakes and failed trainings, and helpers that word their messages."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import ClassVar


class UserError(ValueError):
    """Bad input from a user: the message names the file or field and the remedy.

    The console commands print the message alone and exit with status 2; any other exception is a
    bug of ours and keeps its traceback.

    Attributes:
        status: that the process exits with.
    """

    status: ClassVar[int] = 2


class Interrupted(UserError):
    """Ctrl-C: the message says what is kept and how to go on."""

    status = 130  # as a shell tells a program that SIGINT ended


class StorageFull(UserError):
    """A disk or a quota is full: all files are whole, and the work continues once there is room."""


class StorageAway(StorageFull):
    """The server of a URL does not answer or refuses us: the work continues once it takes files."""


class NotShared(UserError):
    """A node does not see the folder that all nodes share: nothing that runs there would stay."""


class TrainingError(RuntimeError):
    """Training cannot continue, and a retry will not help (a non-finite loss, no memory left)."""


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether an error or one of its causes says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("disk is full", "No space left on device")):
            return True  # SQLite's words, and those of libraries that keep no number
        error = error.__cause__ or error.__context__
    return False


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its class where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def not_utf8(error: UnicodeDecodeError) -> str:
    """Return where bytes stop being UTF-8, and the remedy: goes after the file's name."""
    line, remedy = not_utf8_at(error)
    return f", line {line}: {remedy}"


def not_utf8_at(error: UnicodeDecodeError) -> tuple[int, str]:
    """Return the line where bytes stop being UTF-8, and the remedy."""
    line = error.object[: error.start].count(b"\n") + 1
    given = "UTF-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
    return line, f"not UTF-8 text; save it as UTF-8 (iconv -f {given} -t UTF-8 FILE)"


def not_by_commas(columns: Iterable[str]) -> str:
    """Return a remedy where a CSV file's one column looks like several; else empty."""
    first, *others = [*columns, ""]
    if any(others) or not (";" in first or "\t" in first):
        return ""
    return "; separate columns by commas (spreadsheets: save as CSV, comma delimited)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean "x"?'`` for the nearest known name, or the list of known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""
