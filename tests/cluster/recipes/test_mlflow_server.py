"""MLflow for a lab, as `c2vl-cluster mlflow up` serves it: PostgreSQL, users, TLS."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from c2vl.support.errors import UserError
from cluster.mlflow_server import ADMIN, server_command
from tests.cluster.services import USER, Database, MLflowServer, certificate
from tests.shell import free_port

PLAIN = ("sqlite:///x.db", "s3://mlflow", "127.0.0.1", 5000, (), None, None)


def test_what_is_unsafe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADMIN, raising=False)
    with pytest.raises(UserError, match="is not set"):
        server_command(*PLAIN)
    monkeypatch.setenv(ADMIN, "admin-of-the-lab")
    assert "basic-auth" in server_command(*PLAIN)
    with pytest.raises(UserError, match="--store: has a password"):
        server_command("postgresql://mlflow:secret@db/mlflow", *PLAIN[1:])
    with pytest.raises(UserError, match="in the clear"):
        server_command(*PLAIN[:2], "0.0.0.0", *PLAIN[3:])


def test_no_file_stays_of_a_server_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are read by the process that it becomes, and by that one's children."""
    child = "import os; print(open(os.environ['MLFLOW_AUTH_CONFIG_PATH']).read())"
    again = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    script = (
        "import sys; from cluster import mlflow_server as ours\n"
        f"ours.server_command = lambda *_, **__: [sys.executable, '-c', {again!r}]\n"
        "ours.up.callback('sqlite:////x.db')"
    )
    before = set(Path(tempfile.gettempdir()).glob("c2vl-mlflow-*"))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "database_uri = sqlite:////x.db" in done.stdout
    assert set(Path(tempfile.gettempdir()).glob("c2vl-mlflow-*")) == before


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    pem, key = certificate(tmp_path, "localhost")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path has to be short
    port, at = free_port(), free_port()
    database = Database(folder, "127.0.0.1", at, "127.0.0.1/32", "database-of-the-lab", "mlflow")
    words = [
        "--store", f"postgresql+psycopg://{USER}@127.0.0.1:{at}/mlflow",
        "--artifacts", tmp_path / "bucket", "--host", "localhost", "--port", port,
        "--certificate", pem, "--key", key,
    ]  # fmt: skip
    mlflow = MLflowServer(tmp_path / "server.log", words, {"PGPASSWORD": "database-of-the-lab"})
    url, deadline = f"https://localhost:{port}", time.monotonic() + 90
    try:
        while True:
            try:
                requests.get(f"{url}/health", verify=str(pem), timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, mlflow.log.read_text()
                time.sleep(0.5)
        yield url
    finally:
        mlflow.kill()
        database.stop()
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.mlflow
def test_each_sees_all_and_changes_their_own(server: str, tmp_path: Path) -> None:
    log, certificate = tmp_path / "server.log", str(tmp_path / "localhost.pem")

    def ask(call: str, user: str, **facts: object) -> requests.Response:
        return requests.post(
            f"{server}/api/2.0/mlflow/{call}",
            json=facts, auth=(user, f"{user}-of-the-lab"), verify=certificate, timeout=30,
        )  # fmt: skip

    search = {"max_results": 10}
    refused = requests.post(
        f"{server}/api/2.0/mlflow/experiments/search", json=search, verify=certificate, timeout=30
    )
    assert refused.status_code == 401
    for user in ("anna", "ben"):
        made = ask("users/create", "admin", username=user, password=f"{user}-of-the-lab")
        assert made.ok, made.text + log.read_text()
    made = ask("experiments/create", "anna", name="sweeps")
    assert made.ok, made.text + log.read_text()
    experiment = made.json()["experiment_id"]
    assert ask("runs/create", "anna", experiment_id=experiment).ok
    assert ask("experiments/search", "ben", **search).json()["experiments"]
    assert ask("experiments/delete", "ben", experiment_id=experiment).status_code == 403
    assert ask("experiments/delete", "anna", experiment_id=experiment).ok
    assert "of-the-lab" not in log.read_text()
