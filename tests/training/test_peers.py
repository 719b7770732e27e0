"""Peers of a trial: they stay, what goes wrong on one is told, a lost one is replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c2vl.config.experiment import Experiment
from c2vl.support.errors import TrainingError, UserError
from c2vl.training.launch import fit
from c2vl.training.peers import Report, lead

pytestmark = pytest.mark.ray


def loop(job: dict[str, Any], rank: int, report: Report) -> None:
    """Three epochs of one collective each; a worker may fail before the second."""
    import torch
    import torch.distributed as dist

    place = Path(job["folder"])
    (place / f"pid-{rank}").write_text(str(os.getpid()))
    for epoch in range(1, 4):
        if epoch == 2 and job.get("rank") == rank:
            if job["fault"] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise TrainingError(f"worker {rank}: {job['fault']}")
        ones = torch.ones(1)
        dist.all_reduce(ones)
        report({"epoch": epoch, "workers": int(ones), "rank": rank})


class First:
    """The first worker of groups of two."""

    def train(self, **job: Any) -> tuple[list[dict[str, Any]], str]:
        """Run the loop; return what was reported, and the error if there was one."""
        told: list[dict[str, Any]] = []

        def report(row: dict[str, Any]) -> None:
            told.append(row)
            if len(told) == job.get("stop"):
                raise SystemExit

        try:
            lead(loop, job, workers=2, cpus=0.5, gpus=0, report=report)
        except (Exception, SystemExit) as error:
            return told, f"{type(error).__name__}: {error}"
        return told, ""


@pytest.fixture(scope="module")
def first() -> Iterator[Any]:
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    group = placement_group([{"CPU": 0.5}, {"CPU": 0.5}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    yield ray.remote(First).options(num_cpus=0.5, scheduling_strategy=strategy).remote()
    ray.shutdown()


def test_peers_stay_and_faults_are_told(first: Any, tmp_path: Path) -> None:
    import ray

    def train(**job: Any) -> tuple[list[int], str]:
        rows, error = ray.get(first.train.remote(folder=str(tmp_path), **job))
        assert all(row["workers"] == 2 and row["rank"] == 0 for row in rows)
        return [row["epoch"] for row in rows], error

    def peer() -> int:
        return int((tmp_path / "pid-1").read_text())

    assert train() == ([1, 2, 3], "")
    process = peer()
    assert train(stop=2) == ([1, 2], "SystemExit: ")  # as a scheduler ends a trial
    assert train(rank=1, fault="nan") == ([1], "TrainingError: worker 1: nan")
    assert train(rank=0, fault="nan") == ([1], "TrainingError: worker 0: nan")
    assert train() == ([1, 2, 3], "")
    assert peer() == process  # whatever happened
    began = time.monotonic()
    epochs, error = train(rank=1, fault="killed")
    assert epochs == [1] and "ActorDiedError" in error
    assert time.monotonic() - began < 30
    assert train() == ([1, 2, 3], "")
    assert peer() != process


def test_without_room_for_peers(tmp_path: Path) -> None:
    settings = {"workers": 2, "batch_size": 16}
    experiment = Experiment.model_validate({"train": settings})
    with pytest.raises(UserError, match=r"train.workers: 2 workers need a placement group"):
        fit(experiment, tmp_path / "run", name="run", in_process=True)
