"""Addresses of stores: which are files, and how they are shown, which is without a password."""

from __future__ import annotations

import re
from pathlib import Path

from c2vl.support.errors import first_line

_SQLITE = re.compile(r"sqlite(?:\+\w+)?://[^/]*/([^?]+)")
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), r"\1:***@"),
    (re.compile(r"(https?://)[^\s:/@]+@"), r"\1***@"),  # a token, in the place of a user
    (re.compile(r"([?&][\w-]*(?:password|token|secret)=)[^\s&#]*"), r"\1***"),
)


def shown(uri: str) -> str:
    """Return an address without its password."""
    return scrubbed(uri, uri)


def scrubbed(text: str, uri: str = "") -> str:
    """Return a text, such as a library's reason, without the passwords of addresses in it.

    Args:
        text: what is to be shown.
        uri: an address that may stand in it, whose password may have characters of any kind.
    """
    user, at, _ = uri.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    if at and password and not user.startswith("/"):  # else it is a file's path
        text = text.replace(f":{password}@", ":***@")
    for pattern, hidden in _SECRETS:
        text = pattern.sub(hidden, text)
    return text


def reason(error: BaseException, uri: str = "") -> str:
    """Return what an error of a store says, in one line and without passwords.

    Args:
        error: of any library.
        uri: the store's address.
    """
    return scrubbed(first_line(error), uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of an SQLite address; None for any other."""
    found = _SQLITE.match(uri)
    if found is None or found[1] == ":memory:":
        return None
    return Path(found[1]).absolute()
