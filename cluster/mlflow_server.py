"""``c2vl-cluster mlflow up``: MLflow for a lab, with users, on a database and a bucket.

It becomes ``mlflow server``. Passwords come by environment variables alone: other users of the
machine see a command line.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from c2vl.support.errors import UserError

ADMIN, SESSION = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
USERS = """\
[mlflow]
default_permission = READ
database_uri = {store}
admin_username = admin
auth_cache_ttl_seconds = 60
"""
"""The cache spares each request some half a second, in which a password is hashed."""


@click.group()
def mlflow() -> None:
    """Run MLflow's server for a lab."""


@mlflow.command(
    epilog="""
\b
Examples:
  c2vl-cluster mlflow up --store postgresql+psycopg://mlflow@db/mlflow --artifacts s3://mlflow
  c2vl-cluster mlflow up --store … --artifacts … --host 0.0.0.0 --allow mlflow.lab.example:5000 \\
    --certificate lab.pem --key lab.key
"""
)
@click.option("--store", required=True, help="Database, without its password (PGPASSWORD).")
@click.option("--artifacts", required=True, help="Folder or bucket that the server writes to.")
@click.option("--host", default="127.0.0.1", help="Address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000)
@click.option("--allow", multiple=True, help="HOST:PORT by which clients name the server.")
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False), help="For TLS.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False), help="Of the certificate.")
def up(store: str, **options: Any) -> None:
    """Serve MLflow with users and passwords, in the foreground.

    Whoever has an account may read; whoever makes an experiment or a model manages it. The server
    passes artefacts on, so that clients need no access to the bucket. The first start makes the
    user admin, with the password in MLFLOW_AUTH_ADMIN_PASSWORD.
    """
    command = server_command(store, **options)
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = _users(USERS.format(store=store.replace("%", "%%")))
    os.environ.setdefault(SESSION, secrets.token_hex(32))  # sessions of the pages end with it
    os.execv(command[0], command)


def _users(settings: str) -> str:
    """Return the path of a file that this process and its children can read until they end."""
    if sys.platform == "linux":  # in memory, and gone with the server: nobody would remove a file
        file = os.memfd_create("users.ini", 0)
        path = f"/proc/{os.getpid()}/fd/{file}"
    else:
        file, path = tempfile.mkstemp(prefix="c2vl-mlflow-", suffix=".ini")
    os.write(file, settings.encode())
    return path


def server_command(
    store: str,
    artifacts: str,
    host: str,
    port: int,
    allow: tuple[str, ...],
    certificate: str | None,
    key: str | None,
) -> list[str]:
    """Return the words of ``mlflow server``.

    Raises:
        UserError: a password is in an address, none is set for admin, or the server would send
            passwords over the network in the clear.
    """
    from sweeps.spec.store_addresses import shown

    for option, value in (("--store", store), ("--artifacts", artifacts)):
        if shown(value) != value:
            raise UserError(
                f"{option}: has a password, which other users of this machine could read; leave it "
                "out, and set PGPASSWORD (for a bucket AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            )
    if not os.environ.get(ADMIN):
        raise UserError(f"{ADMIN} is not set: the password of MLflow's user admin")
    if (certificate is None) != (key is None):
        raise UserError("--certificate and --key: give both, or neither")
    if host not in ("127.0.0.1", "localhost", "::1") and certificate is None:
        raise UserError(
            f"--host {host}: passwords would cross the network in the clear; give --certificate "
            "and --key, or listen on 127.0.0.1 behind a proxy that has TLS"
        )
    program = shutil.which("mlflow", path=str(Path(sys.executable).parent))
    if program is None:
        raise UserError("no `mlflow` beside this Python: pip install c2vl")
    hosts = ",".join((*allow, f"localhost:{port}", f"127.0.0.1:{port}"))
    # fmt: off
    command = [
        program, "server", "--app-name", "basic-auth", "--host", host, "--port", str(port),
        "--backend-store-uri", store, "--artifacts-destination", artifacts,
        "--allowed-hosts", hosts,
    ]
    # fmt: on
    if certificate and key:
        tls = ["--ssl-certfile", certificate, "--ssl-keyfile", key]
        command += ["--uvicorn-opts", shlex.join(tls)]
    return command
