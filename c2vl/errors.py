"""The one exception that users' mistakes end in, and the helper that words near misses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input from a user: the message names the file or field and the remedy.

    Command-line entry points print the message alone and exit with status 2; anything else that is
    raised is a bug of ours and keeps its traceback.
    """


class TrainingError(RuntimeError):
    """Training cannot go on and trying again will not help (a non-finite loss, no memory left)."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean "x"?'`` for the nearest known name, or the list of known names.

    Args:
        name: what the user wrote.
        known: the names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""
