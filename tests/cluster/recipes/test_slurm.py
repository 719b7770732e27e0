"""The SLURM recipe on a real SLURM: a time limit, requeues, and several jobs on one node."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.recipes.slurm_cluster import absent, slurm
from tests.shell import BIN
from tests.small import small_language, small_store, small_sweep
from tests.sweeps.stores import runs, trials

RECIPE = Path(__file__).parents[3] / "cluster" / "slurm" / "sweep.sbatch"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        bool(absent()) or os.geteuid() != 0,
        reason=f"not installed or not root: {absent()} (Debian: slurm-wlm, munge)",
    ),
]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Three nodes of two CPUs and a pretended GPU."""
    with slurm(tmp_path_factory.mktemp("slurm"), nodes=3, cpus=2) as env:
        clean = {name: value for name, value in env.items() if not name.startswith("RAY_")}
        yield clean | {"PATH": f"{BIN}{os.pathsep}{env['PATH']}", "OMP_NUM_THREADS": "1"}


def write_sweep(folder: Path, trials: int, epochs: int) -> None:
    store = small_store(folder / "store")
    small_language(folder / "language", store)
    sweep = small_sweep(Path("store"), Path("language"))
    sweep["space"]["optim.lr"] |= {"low": 1e-4, "high": 1e-2}  # all end well
    sweep["base"]["train"]["epochs"] = epochs
    sweep |= {"trials": trials, "pruner": {"name": "none"}, "points": [], "concurrency": 2}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))


def submit(folder: Path, env: dict[str, str], *words: str) -> None:
    subprocess.run(["sbatch", *words], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)


def wait_for_all(env: dict[str, str]) -> int:
    """Wait until no job is left; return how often jobs were requeued."""
    requeues, deadline = 0, time.monotonic() + 800
    while True:
        jobs = subprocess.run(
            ["squeue", "-h", "-o", "%A %T %r"], env=env, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if not jobs:
            return requeues
        for job, state, reason in (line.split(maxsplit=2) for line in jobs):
            if state == "PENDING" and reason == "BeginTime":  # SLURM would wait two minutes
                subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=env)
                requeues += 1
        assert time.monotonic() < deadline, jobs
        time.sleep(2)


def assert_complete(folder: Path, name: str, count: int) -> None:
    assert [trial.state.name for trial in trials(folder / "runs", name)] == ["COMPLETE"] * count
    experiment = {run: found.data.tags for run, found in runs(folder / "runs", "trial").items()}
    mine = [tags for run, tags in experiment.items() if run.startswith(f"{name}-")]
    assert [tags["outcome"] for tags in mine] == ["complete"] * count


def test_a_sweep_outlives_the_time_limits_of_its_job(tmp_path: Path, env: dict[str, str]) -> None:
    write_sweep(tmp_path, trials=6, epochs=60)
    submit(
        tmp_path, env, "--nodes=3", "--cpus-per-task=1", "--gpus-per-node=1", "--time=3",
        "--signal=B:USR1@60", str(RECIPE), "sweep.yaml",
    )  # fmt: skip
    requeues = wait_for_all(env)
    log = (tmp_path / "slurm-1.out").read_text()
    assert requeues >= 1, log
    assert_complete(tmp_path, "small", 6)
    assert "sweep.sbatch: 3 of 3 nodes have joined Ray" in log


def test_jobs_of_an_array_share_a_node(tmp_path: Path, env: dict[str, str]) -> None:
    write_sweep(tmp_path, trials=2, epochs=4)
    submit(
        tmp_path, env, "--array=0-1", "--nodes=1", "--nodelist=n0", "--cpus-per-task=1",
        "--time=10", str(RECIPE), "sweep.yaml", "name=part-%a", "seed=%a", "concurrency=1",
    )  # fmt: skip
    wait_for_all(env)
    for name in ("part-0", "part-1"):
        assert_complete(tmp_path, name, 2)
    for log in tmp_path.glob("ray-*.log"):  # nothing is left on the node
        assert not Path(f"/tmp/c2vl-{log.stem.removeprefix('ray-')}").exists()
