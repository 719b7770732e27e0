"""Talks to a cluster's job server: submits a sweep, follows it, lists nodes and jobs.

Ray is imported inside the functions, after authentication is switched on.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2vl.support.errors import UserError, did_you_mean, first_line
from cluster import auth

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# not needed by a job; Ray counts .git towards its limit of 500 MB
EXCLUDES = [".git", ".venv", "runs", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"]


class Unreachable(UserError):
    """No job server answers at the address, or it refuses us."""


@dataclass(frozen=True)
class Node:
    """One node as the cluster sees it; ``resources`` maps CPU, GPU and others to amounts."""

    name: str
    alive: bool
    head: bool
    resources: dict[str, float]


@dataclass(frozen=True)
class Submission:
    """A job's command line and runtime environment.

    Attributes:
        working_dir: folder to upload to every node; None where all nodes see this machine's files.
    """

    entrypoint: str
    working_dir: Path | None = None

    def runtime_env(self) -> dict[str, Any]:
        """Return Ray's ``runtime_env``."""
        if self.working_dir is None:
            return {}
        return {"working_dir": str(self.working_dir), "excludes": EXCLUDES}


def sweep_submission(
    sweep: Path, overrides: Iterable[str], root: Path, *, upload: Path | None, preflight: bool
) -> Submission:
    """Return the job that runs a sweep.

    The job changes into ``root`` first, so that every relative path of the sweep (stores, tables,
    results) lies in the folder that all nodes reach, never in a node's own copy of the code.

    Args:
        overrides: ``key=value`` words for it.
        root: absolute folder that all nodes reach.
        upload: folder with the code to send along, holding ``sweep``; None sends nothing.

    Raises:
        UserError: the sweep file is missing, or is not inside ``upload``; an override has a
            password, which everybody could read in the list of jobs.
    """
    from sweeps.spec.store_addresses import shown

    overrides = list(overrides)
    for key, _, value in (word.partition("=") for word in overrides):
        if shown(value) != value:
            raise UserError(
                f"{key}: has a password, and a job's command is shown in Ray's list of jobs; write "
                f"it into {sweep}"
            )
    if not sweep.is_file():
        raise UserError(f"{sweep}: no such sweep file")
    where, file = "", shlex.quote(str(sweep.resolve()))
    if upload is not None:
        try:
            relative = sweep.resolve().relative_to(upload.resolve())
        except ValueError:
            raise UserError(
                f"{sweep}: not inside {upload}, which is what the cluster gets; copy it there"
            ) from None
        where = 'code=$PWD; export PYTHONPATH="$code:${PYTHONPATH:-}"; '
        file = f'"$code"/{shlex.quote(str(relative))}'
    folder = shlex.quote(str(root))
    steps = [f"mkdir -p {folder}", f"cd {folder}"]
    if preflight:
        steps.append("python -m cluster.preflight .")
    words = " ".join(shlex.quote(word) for word in overrides)
    steps.append(f"exec c2vl-sweep run {file} {words}".rstrip())
    return Submission(where + " && ".join(steps), upload)


def connect(address: str) -> JobSubmissionClient:
    """Return a client of the job server at ``address``, which must answer.

    Raises:
        Unreachable: nothing answers, the token is refused, or it is no address.
    """
    auth.enable()
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (RayError, ConnectionError, RuntimeError, OSError) as error:
        raise Unreachable(_remedy(address, error)) from None
    except ValueError:  # after OSError: some are both
        raise Unreachable(
            f"--address: {address} is no address of a job server; write for example "
            "http://HEAD:8265"
        ) from None


def require(client: JobSubmissionClient, job: str) -> None:
    """Raise UserError unless the cluster knows ``job``."""
    try:
        client.get_job_status(job)
    except RuntimeError:
        known = [info.submission_id for info in client.list_jobs() if info.submission_id]
        raise UserError(f"no such job{did_you_mean(job, known)}") from None


def list_nodes(address: str) -> list[Node]:
    """Return the cluster's nodes, the head first.

    Raises:
        Unreachable: as :func:`connect`.
    """
    auth.enable()
    from ray.exceptions import AuthenticationError
    from ray.util.state import list_nodes as ask
    from ray.util.state.exception import RayStateApiException

    try:
        states = ask(address=address, timeout=10, raise_on_missing_output=False)
    except (
        AuthenticationError,
        RayStateApiException,
        ConnectionError,
        RuntimeError,
        OSError,
    ) as error:
        raise Unreachable(_remedy(address, error)) from None
    nodes = [
        Node(
            name=state.node_name,
            alive=state.state == "ALIVE",
            head=bool(state.is_head_node),
            resources={
                name: amount
                for name, amount in (state.resources_total or {}).items()
                if not name.startswith("node:")
            },
        )
        for state in states
    ]
    return sorted(nodes, key=lambda node: (not node.head, node.name))


def follow(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> str:
    """Pass on a job's output until it ends; reconnect after a dropped connection.

    Returns:
        The last status: ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
    """
    written = 0

    async def pass_on() -> None:
        nonlocal written
        seen = 0  # the stream starts anew with each connection
        async for text in client.tail_job_logs(job):
            fresh = text[max(0, written - seen) :]
            seen += len(text)
            written = max(written, seen)
            if fresh:
                write(fresh)

    while True:
        try:
            asyncio.run(pass_on())
        except (ConnectionError, RuntimeError, OSError):
            pass  # the status below tells whether the job or the connection ended
        status = client.get_job_status(job)
        if status.is_terminal():
            return str(status.value)
        time.sleep(1)


def _remedy(address: str, error: Exception) -> str:
    text = str(error).lower()
    if any(word in text for word in ("authentication", "401", "403", "unauthori")):
        return (
            f"{address}: the cluster refused us: no token in {auth.token_path()}, or another one; "
            "copy the cluster's there, or set RAY_AUTH_TOKEN"
        )
    return (
        f"{address}: no Ray job server answers ({first_line(error)}); "
        "start a local cluster with `c2vl-cluster up`, or name another with --address"
    )
