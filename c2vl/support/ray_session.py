"""Being connected to Ray for as long as something takes."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST_TEMP_DIR = 36  # of the 107 characters of a socket's path, less those that Ray adds


@contextmanager
def connected(
    *, told: bool = False, starting: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[None]:
    """Be connected to Ray: to what RAY_ADDRESS names, or to a Ray that is started here.

    A connection that is there already is used and left as it is; one that is made here ends here,
    since Ray keeps processes and a process's one connection otherwise. Without an address Ray would
    join any cluster that it finds on the machine, somebody else's too.

    Args:
        told: whether processes of a Ray that is started here are told its address. Those of Ray
            Train ask for it, and where another Ray runs on the machine they do not know which.
        starting: of ``ray.init``, for a Ray that is started here: how many cores it has, whether
            it has a dashboard.
        **options: of ``ray.init``, where a connection has to be made.
    """
    import ray

    ours, address = not ray.is_initialized(), os.environ.get("RAY_ADDRESS")
    if ours and not address:
        fit_to_this_machine()
    if not address:
        options |= starting or {}
        if told:
            options["runtime_env"] = {"worker_process_setup_hook": tell_address}
    if ours:
        ray.init(address=address or "local", **options)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def fit_to_this_machine() -> None:
    """Let a Ray that is started here do without a short TMPDIR and without a home to write in.

    Its sockets go below /tmp where their paths would be longer than Linux allows. The token that
    its processes know each other by, which Ray writes to ``~/.ray/auth_token`` if there is none,
    stands in the environment where nothing can be written there.
    """
    if not fits_sockets(default_temp_dir(), "/tmp/ray"):
        os.environ["RAY_TMPDIR"] = "/tmp"
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    token = Path(os.path.expanduser("~"), ".ray", "auth_token")
    if given or token.exists():
        return
    there = next(folder for folder in token.parents if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def fits_sockets(folder: str, instead: str) -> bool:
    """Say whether the paths of Ray's sockets fit below a folder; if not, tell what is taken."""
    if len(folder) <= LONGEST_TEMP_DIR:
        return True
    print(f"{folder}: too long for Ray's sockets; {instead} instead", file=sys.stderr)
    return False


def default_temp_dir() -> str:
    """Return where a plain ``ray start`` puts its sockets and logs."""
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return os.path.join(base, "ray")


def quiet_train() -> Any:
    """Let Ray Train say in this process what is wrong, not how it runs and each report.

    Returns:
        The same for its controller, as ``logging_config`` of a run.
    """
    import ray.train

    files = [name for name in logging.root.manager.loggerDict if "/ray/train/" in name]
    for name in ("ray.train", *files):  # some of its loggers bear the name of their file
        logging.getLogger(name).setLevel(logging.WARNING)
    return ray.train.LoggingConfig(log_level="WARNING")


def tell_address() -> None:
    """Tell a process of Ray its Ray's address; as its ``worker_process_setup_hook``."""
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
