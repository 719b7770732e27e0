"""Which Ray a sweep joins where no address is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from c2vl.support.errors import UserError
from sweeps.planning.cluster_resources import cluster, ray_address

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start what looks like a Ray node, as `ray start` or as a driver starts one."""
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "SLURM_JOB_ID", "SLURM_JOB_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    running: list[subprocess.Popen[bytes]] = []

    def begin(address: str, slurm_job: str = "", *, place: str = "ray", told: bool = True) -> str:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        if told:
            (folder / "ray_current_cluster").write_text(address)
        words = ["raylet", "-c", "echo; read x", f"--gcs-address={address}", f"--temp_dir={folder}"]
        env = os.environ | ({"SLURM_JOB_ID": slurm_job} if slurm_job else {})
        pipe = subprocess.PIPE
        node = subprocess.Popen(words, executable="/bin/sh", env=env, stdin=pipe, stdout=pipe)
        assert node.stdout is not None and node.stdout.readline()  # it runs by now
        running.append(node)
        return address

    yield begin
    for node in running:
        node.communicate(b"\n")


def test_in_a_slurm_job_its_ray_is_joined(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = start("10.0.0.1:6379", "77", place="ours")
    start("10.0.0.1:7000", "78", place="another_job")
    start("10.0.0.1:7001", "77", place="a_driver", told=False)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    for nodes in ("1", "3"):
        monkeypatch.setenv("SLURM_JOB_NUM_NODES", nodes)
        assert ray_address() == ours
        assert ray_address("local") == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:1")
    assert ray_address() == "10.0.0.9:1"


def test_nodes_of_a_slurm_job_are_not_left_idle_without_a_word(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("10.0.0.1:7000", "78")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert ray_address() == "local"  # a job of one node
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    with pytest.raises(UserError, match=r"RAY_ADDRESS: is not set in SLURM job 77 .*symmetric-run"):
        ray_address()


def test_a_ray_on_this_host_is_neither_joined_nor_doubled_without_a_word(start: Start) -> None:
    start("10.0.0.1:7000", place="of_a_local_cluster")
    start("10.0.0.1:7001", told=False)  # of another sweep
    assert ray_address() == "local"
    start("10.0.0.1:6379")
    with pytest.raises(UserError, match=r"a Ray runs on this host at 10\.0\.0\.1:6379; --address"):
        ray_address()


def test_an_address_of_a_ray_that_has_ended_is_told_at_once() -> None:
    told = pytest.raises(UserError, match=r"no Ray cluster at 127\.0\.0\.1:9 .*has ended")
    with told, cluster("127.0.0.1:9"):
        pass


def test_a_sweep_takes_the_cpus_that_it_may_use() -> None:
    """As in a SLURM job of one CPU on a large node."""
    code = "from c2vl.support.cpus import usable_cpus; print(usable_cpus())"
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
