"""A local Ray cluster of several node processes, for demonstrations and tests.

Each node is a real ``ray start``, as it would be on a machine of its own. The dashboard, which
takes jobs, listens on loopback alone.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.ray_session import fits_sockets
from cluster import auth, processes
from cluster.state import ClusterState, load, save

LOOPBACK = "127.0.0.1"
# trials read memory-mapped stores, not Ray's object store; Ray's default is 30 % of all memory
OBJECT_STORE_BYTES = 256 * 2**20


def up(
    path: Path,
    *,
    nodes: int = 3,
    cpus_per_node: int = 1,
    dashboard_port: int = 8265,
    timeout: float = 120.0,
) -> tuple[ClusterState, bool]:
    """Start a cluster, or return the one that is already running.

    Args:
        path: the state file. Its cluster's jobs run in the current folder.
        nodes: node processes, the head included.
        cpus_per_node: what each declares to Ray.
        dashboard_port: loopback port for job submission and the dashboard.

    Returns:
        The cluster, and whether this call started it.

    Raises:
        UserError: a port is taken, a node does not come up, or half of a cluster is left.
    """
    state = load(path)
    if state is not None:
        living = sum(processes.alive(node) for node in state.nodes)
        if living and living == len(state.nodes):
            return state, False
        if living:
            raise UserError(
                f"{living} of the cluster's {len(state.nodes)} nodes are left: "
                "`c2vl-cluster down` first, then `up`"
            )
        down(path)
    _require_free(dashboard_port)
    auth.ensure_token()
    auth.enable()
    state = ClusterState(
        dashboard=f"http://{LOOPBACK}:{dashboard_port}",
        gcs=f"{LOOPBACK}:{_free_port()}",
        root=str(Path.cwd()),
        temp_dir=tempfile.mkdtemp(prefix="c2vl-", dir=_short_folder()),
    )
    try:
        for index in range(nodes):
            state = _start_node(state, path, index, cpus_per_node)
            # one at a time: raylets that start together on one machine can draw the
            # same free port, and the one that comes second never registers
            _wait(state, timeout)
    except BaseException:
        down(path)
        raise
    return state, True


def _short_folder() -> str:
    """Return where Ray's sockets may lie: their paths may have 107 characters."""
    given = tempfile.gettempdir()
    return given if fits_sockets(f"{given}/c2vl-12345678", "/tmp") else "/tmp"


def down(path: Path, *, grace: float = 15.0) -> int:
    """End the cluster that the state file names, and nothing else.

    Returns:
        How many nodes it had; 0 where there was no cluster.
    """
    state = load(path)
    if state is None:
        return 0
    processes.end(state, grace)
    shutil.rmtree(state.temp_dir, ignore_errors=True)
    path.unlink(missing_ok=True)
    return len(state.nodes)


def _start_node(state: ClusterState, path: Path, index: int, cpus: int) -> ClusterState:
    name = "head" if index == 0 else f"node{index}"
    bin_folder = Path(sys.executable).parent
    env = os.environ | {
        processes.MARK: state.temp_dir,
        "RAY_AUTH_MODE": "token",
        # jobs find `python` and `c2vl-sweep` of this environment
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    }
    env.pop("RAY_ADDRESS", None)
    # fmt: off
    command = [
        str(bin_folder / "ray"), "start", "--block", "--disable-usage-stats",
        "--node-ip-address", LOOPBACK, "--node-name", name, "--num-cpus", str(cpus),
        "--object-store-memory", str(OBJECT_STORE_BYTES),
        # 0: any free port, since the nodes share one machine
        "--min-worker-port", "0", "--max-worker-port", "0", "--metrics-export-port", "0",
        "--dashboard-agent-listen-port", "0", "--dashboard-agent-grpc-port", "0",
        "--runtime-env-agent-port", "0",
    ]
    if index == 0:
        command += [
            "--head", "--port", state.gcs.rpartition(":")[2], "--temp-dir", state.temp_dir,
            "--include-dashboard", "true", "--dashboard-host", LOOPBACK,
            "--dashboard-port", state.dashboard.rpartition(":")[2],
            "--ray-client-server-port", str(_free_port()),
        ]
    else:
        command += ["--address", state.gcs]
    # fmt: on
    log = Path(state.temp_dir) / f"{name}.log"
    node = processes.start(name, command, env, Path(state.root), log)
    state = state.with_node(node)
    save(state, path)
    return state


def _wait(state: ClusterState, timeout: float) -> None:
    """Wait until all nodes are alive; else raise UserError with the failed node's log."""
    from cluster.jobs import Unreachable, list_nodes

    deadline, late = time.monotonic() + timeout, f"{state.dashboard} does not answer"
    while True:
        for node in state.nodes:
            if not processes.alive(node):
                raise UserError(f"node {node.name} ended at its start:\n{_tail(state, node.name)}")
        try:
            alive = {node.name for node in list_nodes(state.dashboard) if node.alive}
            if not (absent := [node.name for node in state.nodes if node.name not in alive]):
                return
            late = f"{', '.join(absent)} did not register"
        except Unreachable:
            pass  # the dashboard comes up some seconds after its node
        if time.monotonic() > deadline:
            raise UserError(
                f"the cluster was not ready after {timeout:.0f} s: {late}; is the machine very "
                f"busy? Last lines of {state.nodes[-1].name}:\n{_tail(state, state.nodes[-1].name)}"
            )
        time.sleep(0.5)


def _tail(state: ClusterState, name: str, lines: int = 12) -> str:
    log = Path(state.temp_dir) / f"{name}.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise UserError(
                f"port {port} is taken, perhaps by another Ray cluster: "
                "choose one, for example --dashboard-port 8266"
            ) from None
