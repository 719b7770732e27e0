"""The command line as a user runs it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from sweeps.tracking.mlflow_internals import hush, make_store


@functools.cache
def empty_store() -> Path:
    """An MLflow store without an experiment; MLflow takes seconds of CPU to create one."""
    folder = Path(tempfile.mkdtemp(prefix="empty-store-"))
    atexit.register(shutil.rmtree, folder)
    hush()
    make_store(folder / "mlflow.db", folder / "mlartifacts")
    return folder / "mlflow.db"


def start(
    *words: object, cwd: Path, output: IO[str] | int = subprocess.PIPE, **variables: str
) -> subprocess.Popen[str]:
    """Start ``c2vl-sweep`` in a session of its own, with more variables in its environment.

    Its working directory has an empty store, if there is none yet.
    """
    if not (store := cwd / "runs" / "mlflow.db").exists():
        store.parent.mkdir(exist_ok=True)
        shutil.copy(empty_store(), store)
    command = [str(Path(sys.executable).with_name("c2vl-sweep")), *map(str, words)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
