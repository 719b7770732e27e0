"""Addresses of databases and servers: shown without passwords, and as files."""

from __future__ import annotations

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from c2vl.support.errors import UserError, first_line

_SQLITE = re.compile(r"sqlite(?:\+\w+)?://[^/]*/([^?]+)")
DATABASES = ("mssql", "mysql", "postgresql", "sqlite")
"""Schemes of databases that MLflow keeps runs in."""
_DATABRICKS = ("databricks", "databricks-uc", "uc")
_CAUSED = re.compile(r"\(Caused by \w+\((.*)\)\)")  # urllib3's, around the cause
_AROUND = re.compile(
    r"HTTPS?Connection(Pool)?\([^)]*\): |Failed to establish a new connection: |\[Errno -?\d+\] "
)
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
    """Return the message of a store's error in one line, without passwords.

    Of urllib3's long text only the cause stays: "Connection refused".
    """
    said = first_line(error)
    if caused := _CAUSED.search(said):
        said = _AROUND.sub("", caused[1]).strip("\"'")
    return scrubbed(said, uri)


def require_mlflow(uri: str, where: str) -> None:
    """Refuse what cannot be the address of an MLflow server or database.

    Args:
        where: what named it, for the message.

    Raises:
        UserError: it cannot be one; the message says what can.
    """
    scheme, _, rest = uri.partition(":")
    try:
        known = bool(urlsplit(uri).hostname) and urlsplit(uri).port != 0
    except ValueError:  # a port that is no number
        known = False
    if scheme not in ("http", "https"):
        plugins = [one.name for one in entry_points(group="mlflow.tracking_store")]
        known = scheme in (*_DATABRICKS, *plugins)
        known |= bool(rest) and scheme.partition("+")[0] in DATABASES
    if not known and not os.environ.get("MLFLOW_ALLOW_FILE_STORE"):  # MLflow's, of its old folders
        raise UserError(
            f"{where}: {shown(uri)} is no address of MLflow; give a server's (http://HOST:5000) or "
            "a database's (sqlite:///runs/mlflow.db, postgresql://HOST/NAME)"
        )


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of an SQLite address; None for any other."""
    found = _SQLITE.match(uri)
    if found is None or found[1] == ":memory:":
        return None
    return Path(found[1]).absolute()
