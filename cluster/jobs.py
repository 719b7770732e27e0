"""Talks to a cluster's job server: submits a sweep, follows it, lists nodes and jobs.

Ray is imported inside the functions, after authentication is switched on.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from c2vl.config.reading import flatten
from c2vl.support.errors import UserError, did_you_mean, first_line
from cluster import auth
from sweeps.spec import provenance
from sweeps.spec.reading import read_file
from sweeps.spec.store_addresses import shown

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

MAX_BYTES = 100 * 2**20  # what Ray's job server takes
STOP_SECONDS = 900
"""Seconds that Ray waits for a stopped job: a sweep ends its running epochs and tells MLflow."""


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
    """A job's command line, and the folder that is sent to every node for it.

    Attributes:
        sent: the job's working directory; None where nothing is sent.
    """

    entrypoint: str
    sent: Path | None = None

    def runtime_env(self) -> dict[str, Any]:
        """Return Ray's ``runtime_env``; everybody who may see the list of jobs can read it."""
        sent = {} if self.sent is None else {"working_dir": str(self.sent)}
        return {**sent, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}}


def running(root: Path | None, *commands: str, sent: Path | None = None) -> Submission:
    """Return the job that runs commands, one after another, in a folder that all nodes reach.

    Every relative path of a sweep (stores, tables, results) then lies there, never in a node's own
    copy of what was sent; the commands find that as ``$sent``.

    Args:
        root: absolute; None where the sweep's paths are: the job then stays where Ray starts it.
        sent: what :func:`pack` has packed.
    """
    given = 'sent=$PWD; export PYTHONPATH="$sent:${PYTHONPATH:-}"; ' if sent else ""
    folder = shlex.quote(str(root))
    enter = [f"mkdir -p {folder}", f"cd {folder}"] if root else []
    return Submission(given + " && ".join([*enter, *commands]), sent)


def pack(sent: Path, *, code: bool, sweep: Path | None = None) -> None:
    """Put what a job needs of this machine into an empty folder.

    Args:
        code: this installation's packages, for nodes that have none or another state.
        sweep: file of a sweep, or ``preset:NAME``: becomes ``sweep.yaml`` with its base experiment
            in it, beside the Python files that the base lists under ``imports``.

    Raises:
        UserError: it is more than Ray takes; the message names what is large.
    """
    if code:
        provenance.copy_code(sent)
    if sweep is not None:
        values, home = read_file(sweep)
        refuse_passwords(flatten(values))
        base = values["base"]
        modules = list(base.get("imports") or []) if isinstance(base, dict) else []
        for number, module in enumerate(modules):
            if str(module).endswith(".py"):
                modules[number] = f"import{number}_{Path(module).name}"
                if not (home / module).is_file():
                    raise UserError(f"{sweep}: imports: {home / module}: no such file")
                shutil.copy(home / module, sent / modules[number])
        if modules:
            values["base"] = {**base, "imports": modules}
        (sent / "sweep.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    sizes = {path: path.stat().st_size for path in sent.rglob("*") if path.is_file()}
    if sum(sizes.values()) > MAX_BYTES:
        large = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        named = ", ".join(f"{path.relative_to(sent)} ({sizes[path] >> 20} MiB)" for path in large)
        raise UserError(
            f"a job would be sent {sum(sizes.values()) >> 20} MiB, and Ray takes "
            f"{MAX_BYTES >> 20}; the largest: {named}. Move data out of the packages to where all "
            "nodes reach it, or install the code on the nodes and submit with --no-code"
        )


def sweep_command(sweep: str, overrides: Iterable[str], subcommand: str = "run") -> str:
    """Return the command line that runs a sweep, or resumes one.

    Args:
        sweep: its file as a word of a shell, or its name.
        overrides: ``key=value`` words for it.

    Raises:
        UserError: an override has a password, which everybody could read in the list of jobs.
    """
    overrides = list(overrides)
    refuse_passwords(dict(word.partition("=")[::2] for word in overrides))
    words = " ".join(shlex.quote(word) for word in overrides)
    return f"exec python -m sweeps {subcommand} {sweep} {words}".rstrip()


def refuse_passwords(settings: Mapping[str, object]) -> None:
    """Refuse an address with a password in what is sent: other users of the cluster can read it.

    Raises:
        UserError: there is one.
    """
    for key, value in settings.items():
        if isinstance(value, str) and shown(value) != value:
            raise UserError(
                f"{key}: has a password, which Ray's list of jobs or the nodes' caches would show "
                "to everybody there; give the address without it, and the password to the nodes: "
                "PGPASSWORD or MLFLOW_TRACKING_PASSWORD in their environment"
            )


def submit(client: JobSubmissionClient, submission: Submission) -> str:
    """Submit a job and return its id.

    Raises:
        UserError: the job server refuses it.
    """
    try:
        return str(
            client.submit_job(
                entrypoint=submission.entrypoint, runtime_env=submission.runtime_env()
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"the cluster does not take the job: {first_line(error)}") from None


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


def why_failed(client: JobSubmissionClient, job: str) -> str:
    """Return why a job failed before its command ran; empty where the command itself failed.

    Of a traceback it is what stands above it, and its last line.
    """
    message = str(client.get_job_info(job).message or "")
    if "entrypoint command failed" in message:
        return ""
    above, trace, below = message.partition("Traceback (most recent call last):")
    return " ".join(above.split()) + (" " + below.strip().splitlines()[-1] if trace else "")


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
