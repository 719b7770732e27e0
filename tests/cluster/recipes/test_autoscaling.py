"""A sweep on Ray's autoscaler: from no node up, with nodes taken away, and down to none again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from sweeps.running.nodes_wanted import NO_REASON
from tests.shell import BIN, free_port
from tests.small import small_language, small_store, small_sweep
from tests.sweeps.stores import outcomes, trials

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(540)]
IDLE_SECONDS = 20
RAY_FILES = Path(f"/tmp/c2vl-scale-{os.getpid()}")  # short, since Ray's sockets lie below it
SHORT, LONG = 6, 80  # epochs
COMMANDS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands",
)  # fmt: skip


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head without CPUs whose autoscaler may start four nodes; yields a driver's environment."""
    port = free_port()
    temp = RAY_FILES
    scaling: dict[str, Any] = {
        "cluster_name": "test",
        "max_workers": 4,
        "idle_timeout_minutes": IDLE_SECONDS / 60,
        "provider": {
            "type": "external",
            "module": "tests.cluster.recipes.node_provider.Processes",
            "folder": str(tmp_path),
            "gcs_address": f"127.0.0.1:{port}",
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "cpu": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 4},
            "gpu": {
                "resources": {"CPU": 1, "GPU": 1},
                "node_config": {"refuse": "quota exceeded: 0 GPUs in this region"},
                "max_workers": 1,
            },
        },
        "head_node_type": "head",
        "auth": {"ssh_user": "nobody"},
        # Ray fills in what other providers leave out, but not for an external one
        **{key: [] for key in COMMANDS},
        "file_mounts": {},
        "cluster_synced_files": [],
    }
    (tmp_path / "scaling.yaml").write_text(yaml.safe_dump(scaling))
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_enable_autoscaler_v2": "1",  # as on Kubernetes
        "RAY_CLOUD_INSTANCE_ID": "head",
        "RAY_NODE_TYPE_NAME": "head",
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
    }
    # fmt: off
    command = [
        str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=0", f"--port={port}",
        f"--temp-dir={temp}", f"--autoscaling-config={tmp_path}/scaling.yaml",
        f"--dashboard-port={free_port()}", f"--ray-client-server-port={free_port()}",
        "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0",
        "--metrics-export-port=0", "--dashboard-agent-listen-port=0",
        "--dashboard-agent-grpc-port=0", "--runtime-env-agent-port=0", "--disable-usage-stats",
    ]
    # fmt: on
    with (tmp_path / "head.log").open("w") as log:
        ray = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield env | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        left = [psutil.Process(ray.pid), *psutil.Process(ray.pid).children(recursive=True)]
        for line in events(tmp_path):
            if psutil.pid_exists(line["pid"]):
                left += [psutil.Process(line["pid"])]
                left += left[-1].children(recursive=True)
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(left, timeout=20)
        shutil.rmtree(temp, ignore_errors=True)


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def living(folder: Path) -> list[int]:
    """Process ids of the nodes that the provider has started and not lost."""
    nodes = {line["node"]: line for line in events(folder)}
    return [line["pid"] for line in nodes.values() if line["event"] == "started"]


def wait_until(condition: Any, what: str, timeout: float = 150) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.5)


def kill(pid: int) -> None:
    """Take a node away as a cloud does: all of its processes at once."""
    node = psutil.Process(pid)
    for process in [node, *node.children(recursive=True)]:
        process.send_signal(signal.SIGKILL)


def test_nodes_come_go_and_are_taken_away(tmp_path: Path, head: dict[str, str]) -> None:
    store = small_store(tmp_path / "store")
    small_language(tmp_path / "language", store)
    sweep = small_sweep(tmp_path / "store", tmp_path / "language")
    sweep["space"]["optim.lr"] |= {"low": 1e-4, "high": 1e-2}
    sweep["space"]["train.epochs"] = {"type": "categorical", "choices": [SHORT, LONG]}
    lengths = [SHORT] * 15 + [LONG]  # the last one runs when all others have ended
    points = [{"train.epochs": n, "optim.lr": 1e-3 + 1e-4 * i} for i, n in enumerate(lengths)]
    sweep |= {"points": points, "pruner": {"name": "none"}, "trials": 16}
    sweep |= {"autoscaling": True, "concurrency": 4, "final": {"protocols": ["knn"]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert not living(tmp_path)
    began = time.time()
    with (tmp_path / "sweep.log").open("w") as log:
        driver = subprocess.Popen(
            [BIN / "c2vl-sweep", "run", "sweep.yaml"],
            cwd=tmp_path, env=head, stdout=log, stderr=log,
        )  # fmt: skip

    def rows() -> int:
        found = (tmp_path / "runs" / "sweeps" / "small" / "trials").glob("*/metrics.jsonl")
        return sum(path.read_text().count("\n") for path in found)

    def ended_trials() -> int:
        states = [trial.state.name for trial in trials(tmp_path / "runs")]
        return states.count("COMPLETE")

    try:
        wait_until(lambda: living(tmp_path), "a node")
        demand = time.time()
        wait_until(rows, "an epoch")
        print(f"\nfirst node asked for after {demand - began:.0f} s, first epoch ", end="")
        print(f"{time.time() - demand:.0f} s later")
        wait_until(lambda: len(living(tmp_path)) == 4, "four nodes")
        kill(living(tmp_path)[0])
        before = rows()
        wait_until(lambda: rows() > before + 12, "further epochs")
        for pid in living(tmp_path)[:2]:
            kill(pid)
        wait_until(lambda: ended_trials() == 15, "all but the last trial", 300)
        wait_until(lambda: len(living(tmp_path)) == 1, "the nodes of others gone", 120)
        assert driver.poll() is None and ended_trials() == 15, "it still runs"
        print(f"three nodes gone while the last trial ran, after {time.time() - began:.0f} s")
        assert driver.wait(400) == 0, (tmp_path / "sweep.log").read_text()
        ended = time.time()
    finally:
        driver.kill()
    assert [trial.state.name for trial in trials(tmp_path / "runs")] == ["COMPLETE"] * 16
    assert outcomes(tmp_path / "runs") == {("FINISHED", "complete"): 16}
    wait_until(lambda: not living(tmp_path), "no node left", IDLE_SECONDS + 60)
    print(f"sweep {ended - began:.0f} s; last node gone {time.time() - ended:.0f} s after it")
    for line in events(tmp_path):
        print(f"{line['time'] - began:6.0f} s {line['event']} {line['node'][-6:]}")


def test_a_kind_of_node_that_cannot_be_had_is_told(tmp_path: Path, head: dict[str, str]) -> None:
    store = small_store(tmp_path / "store")
    small_language(tmp_path / "language", store)
    sweep = small_sweep(tmp_path / "store", tmp_path / "language")
    sweep["base"]["train"]["gpus_per_worker"] = 1
    sweep |= {"autoscaling": True, "concurrency": 2}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))

    def told() -> str:
        done = subprocess.run(
            [BIN / "c2vl-sweep", "status", "small", "--json"],
            cwd=tmp_path, env=head, capture_output=True, text=True,
        )  # fmt: skip
        return str(json.loads(done.stdout)["nodes_wanted"]) if done.returncode == 0 else ""

    log = tmp_path / "sweep.log"
    with log.open("w") as out:
        driver = subprocess.Popen(
            [BIN / "c2vl-sweep", "run", "sweep.yaml"],
            cwd=tmp_path,
            env=head,
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: "trials wait" in log.read_text() or driver.poll(), "a message")
        # the reason, which Ray does not pass on for this kind of provider, is where we say it is
        assert (
            told() == f"trials wait for nodes with 1 CPU + 1 GPU; no node of type gpu: {NO_REASON}"
        )
        assert NO_REASON in log.read_text()
        (monitor,) = RAY_FILES.glob("session_2*/logs/monitor.log")
        assert "quota exceeded: 0 GPUs in this region" in monitor.read_text()
        driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 130, log.read_text()
        assert told() == ""
    finally:
        driver.kill()
