"""Checks from every node, before the first trial: ``python -m cluster.preflight ROOT`` in a job.

A sweep needs a folder that all nodes share and can write, the same versions everywhere, some free
disk, and Ray's State API (without it a trial that a scheduler stops keeps its CPUs for ever).
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from c2vl.errors import UserError
from c2vl.versions import versions

PACKAGES = ("ray", "torch", "numpy", "optuna", "mlflow", "c2vl")
MIN_FREE_BYTES = 2 * 10**9
ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Probe:
    """What one node found.

    Attributes:
        node: its name.
        versions: package → version; absent packages are left out.
        free_bytes: free disk below the root; 0 where it can't be reached.
        problem: empty, or why the shared folder is of no use there.
    """

    node: str
    versions: dict[str, str] = field(default_factory=dict)
    free_bytes: int = 0
    problem: str = ""


def probe(node: str, root: str, token: str) -> Probe:
    """Look at one node; runs there as a Ray task.

    Args:
        node: the node's name.
        root: absolute folder that it should share with the driver.
        token: the driver wrote it into a file of that name below ``root``; this node answers with
            a file of its own, which the driver reads.
    """
    folder = Path(root) / token
    if not (folder / "driver").is_file():
        return Probe(node, versions(PACKAGES), 0, f"{root} is not the folder that the driver sees")
    try:
        (folder / node).write_text(token, encoding="utf-8")
    except OSError as error:
        return Probe(node, versions(PACKAGES), 0, f"{root} cannot be written: {error.strerror}")
    return Probe(node, versions(PACKAGES), shutil.disk_usage(root).free)


def judge(probes: Iterable[Probe], answered: Iterable[str], here: dict[str, str]) -> list[str]:
    """Return what is wrong, each with its remedy.

    Args:
        probes: one a node.
        answered: nodes whose file the driver can read.
        here: :func:`versions` of the driver.
    """
    seen = set(answered)
    problems = []
    for result in probes:
        if result.problem:
            problems.append(
                f"node {result.node}: {result.problem}; mount the same folder (NFS or the like) at "
                "that path on every node, or name another with --root"
            )
            continue
        if result.node not in seen:
            problems.append(
                f"node {result.node}: what it wrote does not show at the driver; the folder is "
                "not shared, or its mount caches too long (NFS: mount with actimeo=1)"
            )
        if result.free_bytes < MIN_FREE_BYTES:
            problems.append(
                f"node {result.node}: {result.free_bytes / 1e9:.1f} GB of disk free, "
                f"{MIN_FREE_BYTES / 1e9:.0f} GB are wanted for checkpoints and results: make room"
            )
        for package, version in here.items():
            other = result.versions.get(package)
            if other != version:
                problems.append(
                    f"node {result.node}: {package} {other or 'is missing'}, the driver has "
                    f"{version}; install requirements.lock on every node"
                )
    return problems


def check(root: Path) -> tuple[list[Probe], list[str]]:
    """Probe every living node of the cluster that this process can join.

    Args:
        root: the shared folder; made if it is not there.

    Returns:
        The probes, and the problems with their remedies.

    Raises:
        UserError: no cluster is running, or ``root`` cannot be made.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        raise UserError(
            "no Ray cluster here: `c2vl-cluster up` first, then `c2vl-cluster preflight`"
        ) from None
    root = root.absolute()
    token = f".preflight-{uuid.uuid4().hex}"
    folder = root / token
    try:
        folder.mkdir(parents=True)
        (folder / "driver").write_text(token, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{root}: cannot be written: {error.strerror}; choose a --root") from None
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        task = ray.remote(num_cpus=0, max_retries=0)(probe)
        waiting = {
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(node["NodeName"], str(root), token): node["NodeName"]
            for node in nodes
        }
        done, late = ray.wait(
            list(waiting), num_returns=len(waiting), timeout=ANSWER_SECONDS, fetch_local=False
        )
        probes, problems = [], []
        for answer in done:
            try:
                probes.append(ray.get(answer))
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1]
                problems.append(f"node {waiting[answer]}: the check failed there: {reason}")
        problems += [
            f"node {waiting[answer]}: no answer in {ANSWER_SECONDS:.0f} s; is it overloaded, or "
            "its runtime environment still being set up? Try again"
            for answer in late
        ]
        answered = [path.name for path in folder.iterdir()]
        problems += judge(probes, answered, versions(PACKAGES)) + _state_api(len(nodes))
        return sorted(probes, key=lambda result: result.node), problems
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        ray.shutdown()


def _state_api(nodes: int) -> list[str]:
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    remedy = (
        "start Ray with its dashboard (`ray[default]` installed, include_dashboard not false): "
        "without it a trial that is stopped early keeps its CPUs"
    )
    try:
        seen = len(list_nodes(timeout=20, filters=[("state", "=", "ALIVE")]))
    except (RayStateApiException, ConnectionError, RuntimeError, OSError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return [f"Ray's State API does not answer ({reason}); {remedy}"]
    return [] if seen >= nodes else [f"Ray's State API knows {seen} of {nodes} nodes; {remedy}"]


def main(arguments: list[str]) -> int:
    """Print what each node found; 0 if a sweep may start, 2 if not."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        probes, problems = check(Path(arguments[0] if arguments else "."))
    except UserError as error:
        probes, problems = [], [str(error)]
    for result in probes:
        if not result.problem:
            print(f"preflight: {result.node}: {result.free_bytes / 1e9:.0f} GB free")
    for problem in problems:
        print(f"preflight: {problem}", file=sys.stderr)
    if not problems:
        print(f"preflight: {len(probes)} nodes are ready")
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
