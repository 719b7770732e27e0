"""The state file: what it names is found again, and nothing else is ever signalled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from c2vl.support.errors import UserError
from cluster import local, processes
from cluster.state import ClusterState, NodeProcess, load, save


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    temp = tmp_path / "ray"
    temp.mkdir()
    return ClusterState("http://127.0.0.1:1", "127.0.0.1:2", str(tmp_path), str(temp))


@pytest.fixture
def sleeper(state: ClusterState, tmp_path: Path) -> Iterator[NodeProcess]:
    """A marked process with a child of its own, as a node has."""
    script = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
    )
    env = os.environ | {processes.MARK: state.temp_dir}
    node = processes.start("head", [sys.executable, "-c", script], env, tmp_path, tmp_path / "log")
    deadline = time.monotonic() + 10
    while not psutil.Process(node.pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield node
    processes.end(state.with_node(node), grace=1)


def test_round_trip(state: ClusterState, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    full = state.with_node(NodeProcess("head", 1, 2.5)).with_node(NodeProcess("node1", 3, 4.0))
    save(full, path)
    assert load(path) == full
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_no_file_is_no_cluster(tmp_path: Path) -> None:
    assert load(tmp_path / "state.json") is None
    assert local.down(tmp_path / "state.json") == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": [{"pid": 1}]}'])
def test_a_broken_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"state\.json: not a cluster's state"):
        load(path)


def test_a_pid_given_to_somebody_else_is_not_ours(
    state: ClusterState, sleeper: NodeProcess
) -> None:
    assert processes.alive(sleeper)
    stranger = replace(sleeper, created=sleeper.created - 100)
    assert not processes.alive(stranger)
    unmarked = replace(state, temp_dir="/another", nodes=(stranger,))
    assert processes.end(unmarked, grace=0.1) == 0
    assert processes.alive(sleeper)


def test_down_ends_descendants_and_spares_strangers(
    state: ClusterState, sleeper: NodeProcess, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    save(state.with_node(sleeper), path)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    children = psutil.Process(sleeper.pid).children(recursive=True)
    try:
        assert len(children) == 1
        assert local.down(path, grace=1) == 1
        assert not processes.alive(sleeper)
        assert not any(child.is_running() for child in children)
        assert stranger.poll() is None
        assert not path.exists()
        assert not Path(state.temp_dir).exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_half_a_cluster_is_not_taken_for_one(
    state: ClusterState, sleeper: NodeProcess, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    lost = replace(sleeper, name="node1", created=sleeper.created - 100)
    save(state.with_node(sleeper).with_node(lost), path)
    with pytest.raises(UserError, match=r"1 of the cluster's 2 nodes are left.*down"):
        local.up(path)


def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"port \d+ is taken.*--dashboard-port"):
            local.up(tmp_path / "state.json", dashboard_port=taken.getsockname()[1])
