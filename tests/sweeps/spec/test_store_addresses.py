"""Addresses of stores: the files among them, as SQLAlchemy has it, and no password shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from c2vl.support.errors import UserError
from sweeps.spec.store_addresses import reason, require_mlflow, scrubbed, shown, sqlite_file


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


@pytest.mark.parametrize(
    "uri",
    ["foo", "htp://x", "http:///x", "http://x:port", "host:5000", "a.db", "http://me:secret@h:p"],
)
def test_what_is_no_address_of_mlflow_is_told(uri: str) -> None:
    with pytest.raises(UserError) as told:
        require_mlflow(uri, "MLFLOW_TRACKING_URI")
    assert f"MLFLOW_TRACKING_URI: {shown(uri)} is no address of MLflow; give a" in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("uri", ["https://h/mlflow", "http://[::1]:5000", "sqlite:///a.db"])
def test_addresses_of_mlflow_are_taken(uri: str) -> None:
    require_mlflow(uri, "tracking.uri")


def test_of_a_server_that_is_away_the_cause_alone_is_told() -> None:
    with pytest.raises(requests.ConnectionError) as away:
        requests.get("http://127.0.0.1:9/api", timeout=1)
    assert reason(away.value) == "Connection refused"
