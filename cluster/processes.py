"""Starts, finds and ends the processes of a local cluster, and no others.

Every process that ``up`` starts inherits a mark in its environment. Ray's workers rewrite their
own title and with it what the system shows of their environment, so they are found as
descendants of marked processes.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil

from cluster.state import ClusterState, NodeProcess

MARK = "C2VL_LOCAL_CLUSTER"


def start(name: str, command: list[str], env: dict[str, str], cwd: Path, log: Path) -> NodeProcess:
    """Start a process that outlives this one, in a session of its own.

    Args:
        env: its whole environment.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return NodeProcess(name, process.pid, psutil.Process(process.pid).create_time())


def alive(node: NodeProcess) -> bool:
    """Return whether this process runs, not another one that reuses its pid."""
    try:
        process = psutil.Process(node.pid)
        same = bool(abs(process.create_time() - node.created) < 0.5)
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def members(state: ClusterState) -> list[psutil.Process]:
    """Return all living processes of the cluster, descendants included."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.environ().get(MARK) != state.temp_dir:
                continue
            for member in (process, *process.children(recursive=True)):
                found[member.pid] = member
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    found.pop(os.getpid(), None)
    return list(found.values())


def end(state: ClusterState, grace: float) -> int:
    """End the cluster's processes: terminate them, then kill what remains.

    Returns:
        How many processes had to be killed.
    """
    processes = members(state)
    for node in reversed(state.nodes):  # workers leave before the head does
        if alive(node):
            psutil.Process(node.pid).terminate()
    psutil.wait_procs(processes, timeout=grace)
    late = {process.pid: process for process in (*processes, *members(state))}
    left = [process for process in late.values() if process.is_running()]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(left, timeout=5)
    return len(left)
