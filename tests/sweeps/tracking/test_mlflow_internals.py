"""What we use of MLflow beyond its public interface still does what we need."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import mlflow
import pytest
from alembic.operations.batch import ApplyBatchImpl
from mlflow.store.db import utils

from sweeps.tracking.mlflow_internals import CUT_MIGRATION, hush, make_store, own_store

pytestmark = pytest.mark.mlflow
LASTING = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def test_a_store_is_made_and_let_go(tmp_path: Path) -> None:
    file = tmp_path / "made.db"
    make_store(file, tmp_path / "artifacts")
    mine = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _open(fd)]
    assert str(file) not in mine
    file.rename(tmp_path / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (default,) = client.search_experiments()
    assert str(default.artifact_location).startswith((tmp_path / "artifacts").as_uri())


def _open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_the_logger_of_each_failed_try_is_known() -> None:
    hush()
    assert not utils._logger.isEnabledFor(logging.ERROR)


def test_a_process_s_own_store_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LASTING:
        monkeypatch.delenv(name, raising=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert not mlflow.is_tracking_uri_set()
    with own_store(uri):
        assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == uri
    assert not mlflow.is_tracking_uri_set() and mlflow.get_registry_uri() != uri
    monkeypatch.setenv(LASTING[0], "http://other:1")
    with own_store(uri):
        assert mlflow.get_tracking_uri() == uri
    assert mlflow.get_tracking_uri() == "http://other:1"


def test_a_migration_that_was_cut_is_known_by_its_table() -> None:
    """Alembic names the table that it copies into; a second try fails, and names it."""
    assert ApplyBatchImpl._calc_temp_name("experiments") == f"{CUT_MIGRATION}experiments"
