"""Addresses of stores: which are files, and how they are shown, which is without a password."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from c2vl.support.errors import first_line
from sweeps.spec.sweep import SweepSettings, dump_sweep

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
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        return None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).absolute()


def public_dump(spec: SweepSettings) -> str:
    """Return the resolved sweep as YAML, for others to read: its addresses have no passwords."""
    study = None if spec.study is None else shown(spec.study)
    uri = None if spec.tracking.uri is None else shown(spec.tracking.uri)
    tracking = spec.tracking.model_copy(update={"uri": uri})
    return dump_sweep(spec.model_copy(update={"study": study, "tracking": tracking}))
