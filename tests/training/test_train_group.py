"""Groups of Ray Train workers in a trial: they stay, errors are named, lost ones restart."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c2vl.support.errors import TrainingError
from c2vl.training.group_run import Report

pytestmark = pytest.mark.ray


def loop(job: dict[str, Any], report: Report) -> None:
    """Three epochs of one collective each; one worker may fail before the second, the first time.

    Epochs go on from a file, as a real loop does from its checkpoint.
    """
    import ray.train
    import torch
    import torch.distributed as dist

    place, rank = Path(job["folder"]), ray.train.get_context().get_world_rank()
    (place / f"pid-{rank}").write_text(str(os.getpid()))
    done = len((place / "epochs").read_text()) if (place / "epochs").exists() else 0
    dist.barrier()
    for epoch in range(max(done, 1), 4):  # the last epoch comes again
        if epoch == 2 and rank == job.get("rank") and not (place / "failed").exists():
            if not job.get("again"):
                (place / "failed").touch()
            match job["fault"]:
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "frozen":
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "stale":
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
                case fault:
                    raise TrainingError(f"worker {rank}: {fault}")
        ones = torch.ones(1)
        dist.all_reduce(ones)
        if rank == 0 and epoch > done:
            with (place / "epochs").open("a") as file:
                file.write("x")
        report({"epoch": epoch, "workers": int(ones), "rank": rank})


class Trial:
    """The process of a trial."""

    def train(
        self, workers: int, max_failures: int, job: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[str], str]:
        """Run the loop; return what was reported, why workers restarted, and the error."""
        import ray.train

        from c2vl.support.ray_session import quiet_train
        from c2vl.training import train_group
        from c2vl.training.group_run import GroupRun
        from c2vl.training.worker_errors import true_error

        train_group.FROZEN = 3.0
        rows: list[dict[str, Any]] = []
        restarts: list[str] = []

        def report(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) == job.get("stop"):
                raise SystemExit

        try:
            scaling = ray.train.ScalingConfig(
                num_workers=workers, resources_per_worker={"CPU": 1 / 4}
            )
            config = ray.train.RunConfig(
                name="group",
                storage_path=job["folder"],
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
                logging_config=quiet_train(),
            )
            train_group.run(GroupRun(loop, job, report, list, 0, restarts.append, scaling, config))
        except ray.train.TrainingFailedError as error:
            return rows, restarts, true_error(error)
        except SystemExit:
            return rows, restarts, "SystemExit"
        return rows, restarts, ""


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def trial(request: pytest.FixtureRequest) -> Iterator[tuple[Any, int]]:
    """The process of a trial of two or four workers, in a placement group with them."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    workers = request.param
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    group = placement_group([{"CPU": 1 / 4}] * workers)
    strategy = PlacementGroupSchedulingStrategy(group)
    yield ray.remote(Trial).options(num_cpus=0, scheduling_strategy=strategy).remote(), workers
    remove_placement_group(group)


@pytest.fixture(scope="module", autouse=True)
def _no_ray_afterwards() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


def train(
    trial: tuple[Any, int], folder: Path, max_failures: int = 0, **job: Any
) -> tuple[list[int], list[str], str]:
    """Run a training in the trial; return epochs, reasons of restarts, and the error."""
    import ray

    folder.mkdir(exist_ok=True)
    actor, workers = trial
    words = {"folder": str(folder), **job}
    rows, restarts, error = ray.get(actor.train.remote(workers, max_failures, words))
    assert all(row["workers"] == workers and row["rank"] == 0 for row in rows)
    return [row["epoch"] for row in rows], restarts, error


def processes(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.glob("pid-*")}


def test_workers_stay_and_errors_are_named(trial: tuple[Any, int], tmp_path: Path) -> None:
    if (last := trial[1] - 1) > 1:
        pytest.skip("the same with four; they take long to start")
    assert train(trial, tmp_path / "a") == ([1, 2, 3], [], "")
    assert train(trial, tmp_path / "b", stop=2) == ([1, 2], [], "SystemExit")
    assert train(trial, tmp_path / "c") == ([1, 2, 3], [], "")
    assert processes(tmp_path / "a") == processes(tmp_path / "b") == processes(tmp_path / "c")
    epochs, restarts, error = train(trial, tmp_path / "d", 3, rank=last, fault="nan")
    assert (epochs, restarts, error) == ([1], [], f"rank {last}: TrainingError: worker {last}: nan")
    again = {"rank": last, "fault": "stale", "again": True}
    epochs, restarts, error = train(trial, tmp_path / "e", 1, **again)
    stale = f"rank {last}: OSError: [Errno 116] Stale file handle"
    assert (epochs, restarts, error) == ([1], [stale], stale)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_lost_worker_restarts_within_the_trial(
    fault: str, trial: tuple[Any, int], tmp_path: Path
) -> None:
    began = time.monotonic()
    rank = trial[1] - 1
    if fault == "frozen" and rank > 1:
        pytest.skip("the same with four; they take long to start")
    epochs, restarts, error = train(trial, tmp_path, 1, rank=rank, fault=fault)
    assert (epochs, error) == ([1, 2, 3], "")  # each once and in order
    (why,) = restarts
    assert why.startswith(f"rank {rank}: ") and "peer" not in why
    assert time.monotonic() - began < 120
