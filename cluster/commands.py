"""The sub-commands of ``c2vl-cluster``. Ray is imported when one of them runs."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from c2vl.support.command_line import LocalPath, LocationType
from c2vl.support.errors import UserError
from c2vl.support.remote import Location
from cluster.state import STATE_FILE, ClusterState, load

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

address_option = click.option(
    "--address",
    metavar="URL",
    help="Job server, for example http://head:8265. Default: RAY_API_SERVER_ADDRESS, then the "
    "cluster that `up` started here.",
)
root_option = click.option(
    "--root",
    type=LocalPath(),
    help="Folder that every node reaches (NFS or the like) and the job runs in: a sweep's relative "
    "paths lie below it. Default on a local cluster: the folder where `up` ran; elsewhere none, "
    "and the paths must be absolute.",
)
code_option = click.option(
    "--code/--no-code",
    default=None,
    help="Send this installation's code along, or run what the nodes have. Default: send it to a "
    "cluster elsewhere, from a checkout.",
)
no_wait_option = click.option("--no-wait", is_flag=True, help="Return as soon as it is submitted.")


@click.command()
@click.option("--nodes", type=click.IntRange(1, 32), default=3, help="Node processes.")
@click.option("--cpus-per-node", type=click.IntRange(1), default=1, help="CPUs that each declares.")
@click.option(
    "--dashboard-port",
    type=click.IntRange(1024, 65535),
    default=8265,
    help="Port of the dashboard.",
)
def up(nodes: int, cpus_per_node: int, dashboard_port: int) -> None:
    """Start a local Ray cluster of several node processes, for demonstrations and tests.

    Its job server and dashboard listen on loopback alone, and token authentication is on. Jobs run
    in the current folder. `c2vl-cluster down` ends it.
    """
    from cluster import local

    state, started = local.up(
        STATE_FILE, nodes=nodes, cpus_per_node=cpus_per_node, dashboard_port=dashboard_port
    )
    if not started:
        click.echo(f"A cluster of {len(state.nodes)} nodes is up already: {state.dashboard}")
        return
    click.echo(
        f"{nodes} nodes are up, {cpus_per_node} CPU each: {state.dashboard}\n"
        "Submit a sweep: c2vl-cluster submit preset:debug\n"
        f"or plainly:     RAY_AUTH_MODE=token ray job submit --address {state.dashboard} -- "
        "c2vl-sweep run preset:debug"
    )


@click.command()
def down() -> None:
    """End the local cluster that `up` started: its own processes and no others."""
    from cluster import local

    nodes = local.down(STATE_FILE)
    click.echo(f"Ended {nodes} nodes." if nodes else "No cluster was started from this folder.")


@click.command(
    epilog="""
\b
Examples:
  c2vl-cluster submit preset:debug trials=4
  c2vl-cluster submit night.yaml --no-wait
  c2vl-cluster submit night.yaml --address http://head:8265 --root /shared/c2vl
"""
)
@click.argument("sweep", type=LocalPath())
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@address_option
@root_option
@code_option
@click.option(
    "--preflight/--no-preflight",
    default=True,
    help="Check every node before the first trial.",
)
@no_wait_option
def submit(
    sweep: Path,
    settings: tuple[str, ...],
    address: str | None,
    root: Path | None,
    code: bool | None,
    preflight: bool,
    no_wait: bool,
) -> None:
    """Run a sweep file as a job, follow its output, and exit with its status.

    To a cluster elsewhere go the sweep file with its base experiment, and from a checkout the
    packages c2vl, sweeps and cluster. Data and storage lie in a folder that all its nodes share.
    """
    from cluster import jobs

    target = _target(address, root, code)
    checks = ["python -m cluster.preflight ."] if preflight and target.root else []
    if target.here:
        _require_file(sweep)
        file = sweep if str(sweep).startswith("preset:") else sweep.absolute()
        command = jobs.sweep_command(shlex.quote(str(file)), settings)
        _submit(target, *checks, command, no_wait=no_wait)
    else:
        command = jobs.sweep_command('"$sent"/sweep.yaml', settings)
        _submit(target, *checks, command, sweep=sweep, no_wait=no_wait)


@click.command(epilog="\b\nExample:\n  c2vl-cluster resume night\n")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@address_option
@root_option
@code_option
@click.option("--storage", default="runs", show_default=True, help="Holds sweeps/NAME; below ROOT.")
@no_wait_option
def resume(
    name: str,
    settings: tuple[str, ...],
    address: str | None,
    root: Path | None,
    code: bool | None,
    storage: str,
    no_wait: bool,
) -> None:
    """Continue the sweep NAME as a job, after `stop`, a kill or a lost cluster."""
    from cluster import jobs

    words = f"--storage {shlex.quote(storage)} {shlex.quote(name)}"
    command = jobs.sweep_command(words, settings, "resume")
    _submit(_target(address, root, code), command, no_wait=no_wait)


@click.command(epilog="\b\nExample:\n  c2vl-cluster preflight --root s3://lab/runs")
@address_option
@click.option(
    "--root",
    type=LocationType(),
    help="Folder or URL that every node should reach and write. Default on a local cluster: the "
    "folder where `up` ran.",
)
@code_option
def preflight(address: str | None, root: Location | None, code: bool | None) -> None:
    """Check the shared folder or URL, versions and free disk from every node."""
    url = root if isinstance(root, str) else None
    target = _target(address, None if isinstance(root, str) else root, code)
    if target.root is None and url is None:
        raise UserError("--root: name the folder or URL to check, for example --root /shared/c2vl")
    _submit(target, f"exec python -m cluster.preflight {shlex.quote(url or '.')}", no_wait=False)


@click.command()
@address_option
def status(address: str | None) -> None:
    """Show the cluster's nodes, their resources, and its jobs."""
    from rich.console import Console
    from rich.table import Table

    from cluster import jobs

    url = _address(address)
    client = jobs.connect(url)
    console = Console()
    nodes = Table("node", "state", "CPU", "GPU", title=url, title_justify="left")
    for node in jobs.list_nodes(url):
        amounts = [f"{node.resources.get(kind, 0):g}" for kind in ("CPU", "GPU")]
        nodes.add_row(node.name, "alive" if node.alive else "dead", *amounts)
    console.print(nodes)
    listed = Table("job", "status", "command")
    for job in client.list_jobs():
        if job.submission_id:
            listed.add_row(job.submission_id, str(job.status.value), job.entrypoint)
    console.print(listed if listed.rows else "No jobs yet.")


@click.command()
@click.argument("job")
@address_option
def logs(job: str, address: str | None) -> None:
    """Print the output of JOB until it ends."""
    from cluster import jobs

    client = jobs.connect(_address(address))
    jobs.require(client, job)
    _follow(client, job)


@click.command()
@click.argument("job")
@address_option
def stop(job: str, address: str | None) -> None:
    """Stop JOB; a sweep ends its running epochs first, and can be resumed."""
    from cluster import jobs

    client = jobs.connect(_address(address))
    jobs.require(client, job)
    stopped = client.stop_job(job)
    if not stopped:
        click.echo(f"{job}: had ended already")
        return
    click.echo(
        f"{job}: stopping; a sweep ends its running epochs first. Follow it: "
        f"c2vl-cluster logs {job}; go on: c2vl-cluster resume NAME"
    )


def _address(address: str | None) -> str:
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if given:
        return given.rstrip("/")
    return _local().dashboard


def _local() -> ClusterState:
    state = load(STATE_FILE)
    if state is None:
        raise UserError(
            "no cluster was started from this folder: `c2vl-cluster up`, or name one with "
            "--address http://HEAD:8265"
        )
    return state


@dataclass(frozen=True)
class Target:
    """Where a job runs.

    Attributes:
        url: of the job server.
        root: absolute folder that all nodes reach; None if the sweep's own paths name it.
        here: the nodes are processes of this machine, started from this folder.
        code: send this installation's code along.
    """

    url: str
    root: Path | None
    here: bool
    code: bool


def _target(address: str | None, root: Path | None, code: bool | None) -> Target:
    url = _address(address)
    state = load(STATE_FILE)
    if state is not None and state.dashboard == url:
        return Target(url, (root or Path(state.root)).absolute(), True, bool(code))
    if root is not None and not root.is_absolute():
        raise UserError(
            f"--root: {url} is no local cluster of this folder, so name the absolute folder that "
            "all its nodes reach, for example --root /shared/c2vl"
        )
    checkout = (Path(__file__).parents[1] / "pyproject.toml").exists()
    return Target(url, root, False, checkout if code is None else code)


def _require_file(sweep: Path) -> None:
    from sweeps.spec.reading import read_file

    read_file(sweep)


def _submit(target: Target, *commands: str, sweep: Path | None = None, no_wait: bool) -> None:
    """Submit a job, and follow it.

    Args:
        commands: run in the target's root, one after another.
        sweep: file to send.
    """
    from cluster import jobs

    with TemporaryDirectory(prefix="c2vl-job-") as folder:
        sent = Path(folder) if target.code or sweep else None
        if sent is not None:
            jobs.pack(sent, code=target.code, sweep=sweep)
        client = jobs.connect(target.url)
        job = jobs.submit(client, jobs.running(target.root, *commands, sent=sent))
    click.echo(f"{job} submitted to {target.url}", err=True)
    if no_wait:
        click.echo(job)
        return
    _follow(client, job)


def _follow(client: JobSubmissionClient, job: str) -> None:
    """Follow a job's output; this process ends with 0 only if the job succeeded."""
    from cluster import jobs

    try:
        outcome = jobs.follow(client, job, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(
            f"\n{job} keeps running. Follow it again: c2vl-cluster logs {job}; "
            f"stop it: c2vl-cluster stop {job}",
            err=True,
        )
        sys.exit(130)
    why = jobs.why_failed(client, job) if outcome == "FAILED" else ""
    click.echo(f"{job} {outcome.lower()}" + (f": {why}" if why else ""), err=True)
    if outcome != "SUCCEEDED":
        sys.exit(1)
