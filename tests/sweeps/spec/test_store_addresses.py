"""Addresses of stores: the files among them, as SQLAlchemy has it, and no password shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sweeps.spec.store_addresses import scrubbed, shown, sqlite_file


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///study.db",
        "sqlite:////absolute/a folder/study.db",
        "sqlite+pysqlite:///study.db?timeout=3",
        "sqlite:///:memory:",
        "sqlite://",
        "sqlite:study.db",
        "sqlitefile:///study.db",
        "postgresql+psycopg://user:word@host:5432/database",
        "http://127.0.0.1:5000",
        "postgresql://host:port/database",
    ],
)
def test_a_file_is_what_sqlalchemy_opens(uri: str) -> None:
    try:
        url = make_url(uri)
        theirs = url.database if url.drivername.partition("+")[0] == "sqlite" else None
    except (ArgumentError, ValueError):
        theirs = None
    wanted = None if theirs in (None, ":memory:") else Path(theirs).absolute()
    assert sqlite_file(uri) == wanted


def test_no_password_is_shown() -> None:
    uri = "postgresql://user:p@ss/w:rd@host/database"
    assert shown(uri) == "postgresql://user:***@host/database"
    assert (
        scrubbed(f"cannot reach {uri}", uri) == "cannot reach postgresql://user:***@host/database"
    )
    assert shown("https://token@host") == "https://***@host"
    assert shown("postgresql://host/db?user=u&password=secret") == (
        "postgresql://host/db?user=u&password=***"
    )
