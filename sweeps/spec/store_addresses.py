"""Addresses of databases and servers: shown without passwords, and as files."""

from __future__ import annotations

import re
from pathlib import Path

from c2vl.support.errors import first_line

_SQLITE = re.compile(r"sqlite(?:\+\w+)?://[^/]*/([^?]+)")
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), r"\1:***@"),
    (re.compile(r"(https?://)[^\s:/@]+@"), r"\1***@"),  # a token in place of the user
    (re.compile(r"([?&][\w-]*(?:password|token|secret)=)[^\s&#]*"), r"\1***"),
)


def shown(uri: str) -> str:
    """Return an address without its password."""
    return scrubbed(uri, uri)


def scrubbed(text: str, uri: str = "") -> str:
    """Return a text, such as a library's error, without the passwords of addresses in it.

    Args:
        uri: an address that may be in it; its password may have any characters.
    """
    user, at, _ = uri.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    if at and password and not user.startswith("/"):  # else it is a file's path
        text = text.replace(f":{password}@", ":***@")
    for pattern, hidden in _SECRETS:
        text = pattern.sub(hidden, text)
    return text


def reason(error: BaseException, uri: str = "") -> str:
    """Return the message of a store's error in one line, without passwords."""
    return scrubbed(first_line(error), uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of an SQLite address; None for any other."""
    found = _SQLITE.match(uri)
    if found is None or found[1] == ":memory:":
        return None
    return Path(found[1]).absolute()
