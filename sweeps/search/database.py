"""The database of a study: its address, and whether it is worth asking again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy.exc
from sqlalchemy.engine import make_url

from c2vl.support.errors import UserError
from c2vl.support.extras import require_extra
from sweeps.spec.store_addresses import reason, shown, sqlite_file

T = TypeVar("T")

BUSY_SECONDS = 5  # SQLite itself waits so long for a lock
READING_PATIENCE = 30.0  # of commands that only read
_AWAY = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.DisconnectionError,
    sqlalchemy.exc.TimeoutError,
)
_LASTING = ("no such table", "no such column", "does not exist", "password", "unable to open")


def engine_options(uri: str) -> dict[str, Any]:
    """Return what SQLAlchemy opens a database with; make the folder of an SQLite file.

    Raises:
        UserError: no address of a database, or its driver is not installed.
    """
    try:
        driver = make_url(uri).drivername
    except (sqlalchemy.exc.ArgumentError, ValueError):  # the latter for a port that is no number
        raise UserError(
            f"study: {shown(uri)} is no address of a database; write for example "
            "sqlite:///study.db or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if driver == "postgresql+psycopg":
        require_extra("postgres", f"study: {shown(uri)}")
    if (file := sqlite_file(uri)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True}  # SQLAlchemy replaces dead connections


def asked_again(uri: str, patience: float, work: Callable[[], T], *, opened: bool = False) -> T:
    """Do work on a database, again while it is locked, and not if it is absent.

    Args:
        uri: of the database; a password in it is never shown.
        patience: seconds.
        opened: it has answered before, so that one that is away is waited for too.

    Raises:
        UserError: the database cannot be used.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except (ImportError, sqlalchemy.exc.SQLAlchemyError) as error:
            wait = away(error) is not None if opened else "locked" in str(error)
            if not wait or time.monotonic() > deadline:
                raise UserError(f"study: {shown(uri)} cannot be used: {_reason(error)}") from None
            time.sleep(0.5)


def away(error: BaseException) -> str | None:
    """Return why a database did not answer; None if a repetition cannot help."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, _AWAY) or getattr(found, "connection_invalidated", False):
            reason = _reason(found)
            return None if any(word in reason for word in _LASTING) else reason
        found = found.__cause__ or found.__context__
    return None


def _reason(error: BaseException) -> str:
    return reason(getattr(error, "orig", None) or error)
