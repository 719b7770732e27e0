"""An MLflow server as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.shell import free_port

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # five processes that no test asks


class Server:
    """An MLflow server on loopback that can be killed and started again on the same store."""

    def __init__(self, storage: Path) -> None:
        self._port: int = free_port()
        self._storage = storage
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, **variables: str) -> None:
        """Start, with more words of its command and of its environment; wait until it answers."""
        words = ["server", "--host", "127.0.0.1", "--port", self._port, "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self._storage / 'mlflow.db'}"]
        words += ["--artifacts-destination", self._storage / "artifacts"]
        command = [str(Path(sys.executable).with_name("mlflow")), *map(str, words), *more]
        env = os.environ | NO_JOBS | variables
        log = (self._storage / "server.log").open("ab")
        self._process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=env
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < deadline, (self._storage / "server.log").read_text()
                time.sleep(0.2)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
