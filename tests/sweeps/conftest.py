"""One finished sweep, which many tests look at."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """Tests that drive a study wait for it, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.search.storage.GRACE_SECONDS", 400.0)
        yield


@pytest.fixture(scope="session")
def finished(
    sweep_file: Path, c2vl_sweep: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The storage of a finished sweep with final seeds, and what was printed.

    It is there to be looked at: a test that changes anything takes ``finished_copy``. Parallel
    test processes share it.
    """
    base = tmp_path_factory.getbasetemp()
    cwd = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "finished-sweep"
    cwd.mkdir(exist_ok=True)
    printed = cwd / "printed.txt"
    with (cwd / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            beside = "base,hard,supervised,masked_motion,aimclr,colder,captions,joints"
            words = ["final.seeds=[0,1]", f"final.beside=[{beside}]"]
            words += ["final.variants={colder: {objective.temperature: 0.05}}"]
            words += ["train.system_metrics=true", "final.test=true"]
            printed.write_text(c2vl_sweep("run", sweep_file, *words, cwd=cwd).stdout)
    return cwd / "runs", printed.read_text()


@pytest.fixture
def finished_copy(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of its storage, ``runs`` of the working directory."""
    shutil.copytree(finished[0], tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"
