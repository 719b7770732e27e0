"""A real cluster of three node processes, through the commands that a user types."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from c2vl.config.reading import load as read_experiment
from c2vl.config.reading import override
from c2vl.training.launch import fit
from c2vl.training.run_folder import RunFolder
from cluster import local, processes
from cluster.state import STATE_FILE, load
from sweeps.spec import provenance
from tests.shell import BIN, call, free_port
from tests.sweeps.stores import epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.timeout(480)]

ON_TWO_NODES = """
import os, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Pin
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1)
def where(): return ray.get_runtime_context().get_node_id()
nodes = [node["NodeID"] for node in ray.nodes()]
seen = ray.get([where.options(scheduling_strategy=Pin(n, soft=False)).remote() for n in nodes])
print("nodes that ran a task:", len(set(seen)))
print("working folder:", os.getcwd())
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster, its folder, and the environment that a user's shell would have."""

    folder: Path
    env: dict[str, str]
    url: str

    def call(self, *words: str, rc: int = 0) -> str:
        """Run a command of this environment; return its output, both streams."""
        return call(*words, cwd=self.folder, env=self.env, rc=rc)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    home = folder / "home"  # a token of its own
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    port = free_port()
    running = Cluster(folder, env, f"http://127.0.0.1:{port}")
    try:
        output = running.call("c2vl-cluster", "up", "--nodes", "3", "--dashboard-port", str(port))
        assert f"3 nodes are up, 1 CPU each: {running.url}" in output
        yield running
    finally:
        local.down(folder / STATE_FILE)


def test_a_second_up_finds_the_first(cluster: Cluster) -> None:
    assert "up already" in cluster.call("c2vl-cluster", "up", "--nodes", "3")


def test_status_lists_the_nodes(cluster: Cluster) -> None:
    output = cluster.call("c2vl-cluster", "status")
    for node in ("head", "node1", "node2"):
        assert node in output
    assert output.count("alive") == 3


def test_preflight_looks_at_every_node(cluster: Cluster) -> None:
    output = cluster.call("c2vl-cluster", "preflight")
    assert "3 nodes are ready" in output
    assert not list(cluster.folder.glob(".preflight-*"))


def test_a_plain_submission_runs_on_all_nodes(cluster: Cluster) -> None:
    """`ray job submit` as the README writes it; authentication is on."""
    (cluster.folder / "job.py").write_text(ON_TWO_NODES)
    submitting = ("ray", "job", "submit", "--address", cluster.url)
    plain = Cluster(cluster.folder, cluster.env | {"RAY_AUTH_MODE": "token"}, cluster.url)
    output = plain.call(*submitting, "--submission-id", "job-1", "--", "python", "job.py")
    assert "nodes that ran a task: 3" in output
    assert f"working folder: {cluster.folder}" in output
    assert "nodes that ran a task: 3" in cluster.call("c2vl-cluster", "logs", "job-1")
    assert "job-1" in cluster.call("c2vl-cluster", "status")
    assert "no such job" in cluster.call("c2vl-cluster", "logs", "job-2", rc=2)


def test_without_the_token_nobody_submits(cluster: Cluster, tmp_path: Path) -> None:
    stranger = Cluster(cluster.folder, cluster.env | {"HOME": str(tmp_path)}, cluster.url)
    assert "the cluster refused us" in stranger.call("c2vl-cluster", "status", rc=2)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    assert "the cluster refused us" in stranger.call("c2vl-cluster", "status", rc=2)
    ours = Path(cluster.env["HOME"], ".ray", "auth_token")
    assert ours.stat().st_mode & 0o077 == 0


def test_a_failed_sweep_ends_submit_with_its_failure(cluster: Cluster) -> None:
    (cluster.folder / "bad.yaml").write_text("no_such_setting: 1\n")
    output = cluster.call("c2vl-cluster", "submit", "bad.yaml", "--no-preflight", rc=1)
    assert "no_such_setting" in output
    assert "failed" in output


def test_a_job_that_never_began_says_why(cluster: Cluster) -> None:
    bad = json.dumps({"working_dir": "https://127.0.0.1:9/none.zip"})
    plain = Cluster(cluster.folder, cluster.env | {"RAY_AUTH_MODE": "token"}, cluster.url)
    words = ("ray", "job", "submit", "--no-wait", "--submission-id", "never", "--address")
    plain.call(*words, cluster.url, "--runtime-env-json", bad, "--", "true")
    output = cluster.call("c2vl-cluster", "logs", "never", rc=1)
    assert "never failed: runtime_env setup failed" in output and "Connection refused" in output
    assert "Traceback" not in output


def test_a_sweep_is_stopped_and_resumed_from_another_machine_on_all_nodes(
    cluster: Cluster, sweep_values: dict[str, Any], tmp_path: Path
) -> None:
    values = {**sweep_values, "concurrency": 3, "pruner": {"name": "none"}, "trials": 4}
    group = {"train.epochs": 15, "train.workers": 2, "train.cpus_per_worker": 0.5}
    values["base"] = override(values["base"], group)
    (cluster.folder / "small.yaml").write_text(yaml.safe_dump(values))
    job = cluster.call("c2vl-cluster", "submit", "small.yaml", "--no-wait").split()[-1]
    storage = cluster.folder / "runs"
    folder = storage / "sweeps/small"
    deadline = time.monotonic() + 180
    while not RunFolder(folder / "trials/small-0000").rows():
        assert time.monotonic() < deadline, cluster.call("c2vl-cluster", "logs", job)
        time.sleep(0.1)
    assert "stopping" in cluster.call("c2vl-cluster", "stop", job)
    assert "go on with: c2vl-sweep resume small" in cluster.call("c2vl-cluster", "logs", job, rc=1)
    assert "RUNNING" not in {state for state, _ in outcomes(storage)}
    assert outcomes(storage, "sweep") == {("KILLED", "interrupted"): 1}
    # from elsewhere: nothing but an address and a token; the code is sent along
    laptop = Cluster(tmp_path, cluster.env, cluster.url)
    where = ("--address", cluster.url, "--root", str(cluster.folder), "--code")
    output = laptop.call("c2vl-cluster", "resume", "small", *where)
    assert "models:/small@best" in output
    assert outcomes(storage) == {("FINISHED", "complete"): 4}
    (start,) = json.loads((folder / "provenance.json").read_text())  # of the same code
    assert start["code_sha256"] == provenance.code_digest()
    nodes = {run.data.tags["node"] for run in runs(storage, "trial").values()}
    assert len(nodes - {""}) > 1
    # Ray Train's state API, as docs/sweeps.md asks it
    token = Path(cluster.env["HOME"], ".ray", "auth_token").read_text()
    request = urllib.request.Request(
        f"{cluster.url}/api/train/v2/runs/v1", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        ended = [run for run in json.load(answer)["train_runs"] if run["status"] == "FINISHED"]
    listed = {run["name"]: run for run in ended}
    for name in runs(storage, "trial"):
        (attempt,) = listed[name]["attempts"]
        assert [worker["world_rank"] for worker in attempt["workers"]] == [0, 1]


def test_a_node_lost_in_the_middle_of_an_epoch(
    cluster: Cluster, sweep_values: dict[str, Any], tmp_path: Path
) -> None:
    """Submitted as the README does it by hand.

    The trial that was there goes on elsewhere, in the same run, to the weights of an undisturbed
    one.
    """
    values = {**sweep_values, "name": "lost", "concurrency": 3, "pruner": {"name": "none"}}
    values["base"] = override(values["base"], {"train.epochs": 20, "train.evaluate_every": 10})
    values |= {"trials": 3, "points": []}
    (cluster.folder / "lost.yaml").write_text(yaml.safe_dump(values))
    plain = Cluster(cluster.folder, cluster.env | {"RAY_AUTH_MODE": "token"}, cluster.url)
    command = f"cd {cluster.folder} && {BIN / 'c2vl-sweep'} run lost.yaml"
    job = "by-hand"
    submitting = ("ray", "job", "submit", "--no-wait", "--submission-id", job)
    plain.call(*submitting, "--address", cluster.url, "--", "bash", "-c", command)
    storage = cluster.folder / "runs"
    trials = [storage / f"sweeps/lost/trials/lost-{number:04d}" for number in range(3)]
    deadline = time.monotonic() + 180
    while min(len(RunFolder(trial).rows()) for trial in trials) < 3:
        assert time.monotonic() < deadline, cluster.call("c2vl-cluster", "logs", job)
        time.sleep(0.1)
    state = load(cluster.folder / STATE_FILE)
    assert state is not None
    node = psutil.Process(state.nodes[2].pid)
    for process in [node, *node.children(recursive=True)]:  # as if its plug were pulled
        process.kill()
    output = cluster.call("c2vl-cluster", "logs", job)
    assert "attempt 2" in output and "models:/lost@best" in output, output
    found = [run for name, run in runs(storage, "trial").items() if name.startswith("lost-")]
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert sorted(run.data.tags["attempts"] for run in found) == ["1", "1", "2"]
    for run in found:
        assert epochs(storage, run) == list(range(1, 21))  # none twice
    hit = next(run.data.tags["run"] for run in found if run.data.tags["attempts"] == "2")
    folder = storage / "sweeps/lost/trials" / hit
    fit(read_experiment(folder / "experiment.yaml"), tmp_path / "undisturbed", name="undisturbed")
    weights = [
        (run / "encoder" / "encoder.safetensors").read_bytes()
        for run in (folder, tmp_path / "undisturbed")
    ]
    assert weights[0] == weights[1]


def test_down_cleans_up_after_nodes_were_killed(cluster: Cluster) -> None:
    state = load(cluster.folder / STATE_FILE)
    assert state is not None
    os.kill(state.nodes[1].pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes.alive(state.nodes[1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "are ready" in cluster.call("c2vl-cluster", "preflight")  # Ray has it alive yet
    assert "1 of the cluster's 3 nodes are left" in cluster.call("c2vl-cluster", "up", rc=2)
    ours = processes.members(state)
    assert ours
    assert "Ended 3 nodes" in cluster.call("c2vl-cluster", "down")
    assert not any(process.is_running() for process in ours)
    assert not processes.members(state)
    assert not [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if state.temp_dir in " ".join(process.info["cmdline"] or [])
    ]
    assert not Path(state.temp_dir).exists()
    assert "No cluster" in cluster.call("c2vl-cluster", "down")
