"""Opens MLflow's tracking store, creates SQLite files, and reports a store that is down."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # sweeps.tracking.tracker tries again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient

from c2vl.support.errors import UserError
from sweeps.spec.store_addresses import reason, shown, sqlite_file
from sweeps.tracking.mlflow_internals import CUT_MIGRATION, hush, make_store

ARTIFACTS = "mlartifacts"
DATABASES = ("mssql", "mysql", "postgresql", "sqlite")


def open_client(uri: str) -> MlflowClient:
    """Return a client of a tracking store, log noise silenced; create a missing SQLite file."""
    hush()
    file = sqlite_file(uri)
    if file is not None and file.parent.is_dir() and not file.exists():
        _make(file)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make(file: Path) -> None:
    """Create an SQLite store under a temporary name, then rename it.

    MLflow creates its tables in some fifty separate steps; a kill between them would leave a file
    that MLflow can neither use nor complete.
    """
    partial = file.with_name(f".{file.name}.partial")
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():  # another process created it meanwhile
            return
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            left.unlink(missing_ok=True)
        make_store(partial, file.parent / ARTIFACTS)
        partial.rename(file)


def open_experiment(client: MlflowClient, uri: str, name: str, storage: Path) -> str:
    """Return the id of an MLflow experiment; create it if it is missing.

    A server chooses where artefacts go. With only a database, MLflow would put them into the
    working directory, so this puts them next to the file, or into ``storage``.
    """
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    place = None
    if uri.partition(":")[0].partition("+")[0] in DATABASES:
        if (file := sqlite_file(uri)) is not None:
            storage = file.parent
        place = (storage.absolute() / ARTIFACTS).as_uri()
    return str(client.create_experiment(name, artifact_location=place))


@contextmanager
def answering(uri: str, option: str = "tracking.uri", then: str = "") -> Iterator[None]:
    """Convert exceptions of MLflow and its stores into one message.

    Args:
        option: that named it.
        then: the remedy, if it is not just to try again.

    Raises:
        UserError: the store does not answer.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of many kinds
        raise does_not_answer(uri, error, option, then) from None


def does_not_answer(
    uri: str, error: Exception, option: str = "tracking.uri", then: str = ""
) -> UserError:
    """Return the error for a store that does not answer; hide a password in its address."""
    why = reason(error, uri)
    if CUT_MIGRATION in why:
        then = "a change of its tables was cut short: go back to a copy, or remove it if it is new"
    said = f"{option}: MLflow at {shown(uri)} does not answer: {why}"
    return UserError(f"{said}; {then}" if then else said)
