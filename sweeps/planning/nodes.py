"""Checks of every node of a cluster before a sweep starts: the shared storage, data, versions.

Trials run on any node and leave their checkpoints in the sweep's folder, where the driver reads
them. A folder that only bears the same name on each node would lose them. So each node reads a file
that the driver wrote, and the driver reads a file that each node wrote; at a URL likewise.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.config.reading import resolved
from c2vl.skeletons.staging import MANIFEST
from c2vl.support.errors import UserError
from c2vl.support.remote import Location, RemoteFolder, absolute, below, is_url, parse_location
from c2vl.support.versions import versions
from sweeps.planning.cluster_resources import living_node_ids

PACKAGES = ("ray", "torch", "numpy", "optuna", "mlflow", "c2vl")
ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class NodeReport:
    """What one node found.

    Attributes:
        node: its name.
        versions: package → version; absent packages are left out.
        free_bytes: free disk below the root; 0 if the node cannot reach it.
        problem: empty, or why the node cannot use the shared folder or URL, which it begins with.
        absent: files and folders that the node cannot read.
        seen: whether the driver can read the node's file.
    """

    node: str
    versions: dict[str, str] = field(default_factory=dict)
    free_bytes: int = 0
    problem: str = ""
    absent: tuple[str, ...] = ()
    seen: bool = True


def readable(path: str) -> bool:
    """Tell whether this machine can read a folder, or the manifest at a URL."""
    if not is_url(path):
        return os.access(path, os.R_OK)
    try:
        return bool(RemoteFolder(path).read(MANIFEST))
    except (UserError, FileNotFoundError):
        return False


def inspect_node(
    node: str, file: str, root: str, token: str, reads: tuple[str, ...] = ()
) -> NodeReport:
    """Check one node; runs there as a Ray task.

    Args:
        node: the node's name.
        file: name of the file that the node writes for the driver.
        root: absolute folder, or URL, that the node should share with the driver.
        token: folder below ``root`` in which driver and nodes write; also their files' content.
        reads: absolute paths of data that trials read.
    """
    absent, place = tuple(p for p in reads if not readable(p)), parse_location(root)
    problem = _answer_at(place, token, file) if is_url(root) else _answer_in(place, token, file)
    free = 0 if problem else shutil.disk_usage(tempfile.gettempdir() if is_url(root) else root).free
    return NodeReport(node, versions(PACKAGES), free, problem, absent)


def _answer_in(root: Location, token: str, file: str) -> str:
    """Write a file for the driver beside its own; return why that cannot be."""
    folder = Path(root) / token
    if not (folder / "driver").is_file():
        return f"{root} is not the folder that the driver sees"
    try:
        (folder / file).write_text(token, encoding="utf-8")
    except OSError as error:
        return f"{root} cannot be written: {error.strerror}"
    return ""


def _answer_at(root: Location, token: str, file: str) -> str:
    """Do so at a URL."""
    folder = RemoteFolder(below(str(root), token), ANSWER_SECONDS / 4)
    try:
        folder.read("driver")
        folder.write(file, token.encode())
    except FileNotFoundError:
        return f"{root} is not what the driver sees: another endpoint (AWS_ENDPOINT_URL)?"
    except UserError as error:
        return str(error)
    return ""


def problems_of(
    reports: Iterable[NodeReport], here: dict[str, str], min_free_bytes: int = 0
) -> list[str]:
    """Return the problems, each with its remedy.

    Args:
        reports: one a node.
        here: :func:`versions` of the driver.
        min_free_bytes: disk that every node should have free below the root.
    """
    problems = []
    for result in reports:
        for path in result.absent:
            remedy = "put it where every node reaches it, under the same path"
            if is_url(path):
                remedy = "give the node the endpoint and the credentials (for s3: AWS_…)"
            problems.append(f"node {result.node}: cannot read {path}; {remedy}")
        if is_url(result.problem):
            problems.append(f"node {result.node}: {result.problem}")
            continue
        if result.problem:
            problems.append(
                f"node {result.node}: {result.problem}; mount the same folder (NFS or the like) at "
                "that path on every node, or name another with storage (c2vl-cluster: --root)"
            )
            continue
        if not result.seen:
            problems.append(
                f"node {result.node}: what it wrote does not show at the driver; the folder is "
                "not shared, or its mount caches too long (NFS: mount with actimeo=1)"
            )
        if result.free_bytes < min_free_bytes:
            problems.append(
                f"node {result.node}: {result.free_bytes / 1e9:.1f} GB of disk free, "
                f"{min_free_bytes / 1e9:.0f} GB are wanted for checkpoints and results: make room"
            )
        for package, version in here.items():
            other = result.versions.get(package)
            if other != version:
                problems.append(
                    f"node {result.node}: {package} {other or 'is missing'}, the driver has "
                    f"{version}; install requirements.lock on every node"
                )
    return problems


def inspect_nodes(
    root: Location, reads: Iterable[Location] = ()
) -> tuple[list[NodeReport], list[str]]:
    """Inspect every living node of the cluster that this process is connected to.

    A node that is lost meanwhile is left out; Ray notices a loss after some ten seconds.

    Args:
        root: the folder or URL that all nodes should share; a folder is made if absent.
        reads: data that trials read: absolute folders, or URLs.

    Returns:
        The reports of the nodes that answered, and a message for each that did not.

    Raises:
        UserError: ``root`` cannot be written here.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    root = absolute(root)
    token = f".preflight-{uuid.uuid4().hex}"
    with _meeting(root, token) as written:
        nodes = {node["NodeID"]: node["NodeName"] for node in ray.nodes() if node["Alive"]}
        task: Any = ray.remote(num_cpus=0)(inspect_node)
        words = (str(root), token, tuple(map(str, reads)))
        waiting = {
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(name, node, *words): node
            for node, name in nodes.items()
        }
        done, late = ray.wait(
            list(waiting), num_returns=len(waiting), timeout=ANSWER_SECONDS, fetch_local=False
        )
        found, problems = {}, []
        for answer in done:
            node = waiting[answer]
            try:
                found[node] = ray.get(answer)
            except ray.exceptions.RayError as error:
                if node not in living_node_ids():  # lost meanwhile: no trial will run there
                    continue
                reason = str(error).strip().splitlines()[-1]
                problems.append(f"node {nodes[node]}: the check failed there: {reason}")
        problems += [
            f"node {nodes[waiting[answer]]}: no answer in {ANSWER_SECONDS:.0f} s; is it "
            "overloaded, or its runtime environment still being set up? Try again"
            for answer in late
            if waiting[answer] in living_node_ids()
        ]
        there = written()
        reports = [
            replace(result, seen=bool(result.problem) or node in there)
            for node, result in found.items()
        ]
        return sorted(reports, key=lambda result: result.node), problems


@contextmanager
def _meeting(root: Location, token: str) -> Iterator[Callable[[], set[str]]]:
    """Write a file for the nodes below the root, and take it back with what they wrote.

    Yields:
        A function that returns the names of the files there.
    """
    if isinstance(root, str):
        folder = RemoteFolder(below(root, token))
        folder.write("driver", token.encode())
        try:
            yield lambda: {name.rpartition("/")[2] for name in folder.files()}
        finally:
            RemoteFolder(root).delete_folder(token)
        return
    path = root / token
    try:
        path.mkdir(parents=True)
        (path / "driver").write_text(token, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{root}: cannot be written: {error.strerror}; choose another storage "
            "(c2vl-cluster: --root)"
        ) from None
    try:
        yield lambda: set(os.listdir(path))
    finally:
        shutil.rmtree(path, ignore_errors=True)


def require_fit_nodes(root: Location, experiments: Iterable[Experiment]) -> None:
    """Check that each of several nodes shares the folder and reads the data.

    Args:
        root: the sweep's storage.
        experiments: name the data that trials read.

    Raises:
        UserError: the problems of every node, with their remedies.
    """
    if len(living_node_ids()) < 2:
        return
    reads: set[Location] = set()
    for experiment in map(resolved, experiments):
        tables = experiment.concept_tables().values()
        reads |= {experiment.data.store, *(table for table in tables if table is not None)}
    reports, problems = inspect_nodes(root, sorted(reads, key=str))
    if problems := problems + problems_of(reports, versions(PACKAGES)):
        raise UserError("\n  ".join(["storage: not every node can run trials", *problems]))
