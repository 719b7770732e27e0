"""A job of a protocol on a group of Ray Train workers, and what its workers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from c2vl.support.ray_session import connected, quiet_train


@dataclass(frozen=True)
class Machines:
    """What trains.

    Attributes:
        workers: Ray Train workers; 1 trains in this process.
        gpus_per_worker: 0 is the CPU.
    """

    workers: int = 1
    gpus_per_worker: float = 0.0


@dataclass(frozen=True)
class Share:
    """A worker's share of what a group does: one alone has all of it.

    Attributes:
        rank: which worker, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    def own(self, rows: Any) -> Any:
        """Every ``world``-th row, from ``rank``."""
        return rows[self.rank :: self.world]

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over the workers, in place; all get the same bits."""
        if self.world > 1:
            dist.all_reduce(values)
        return values


ALONE = Share()

Job = Callable[[Path, Share, torch.device], None]
"""Does what stands in a folder, as one of the workers that do it together."""


def run_job(job: Job, folder: Path, machines: Machines) -> None:
    """Do a job in this process, or with Ray Train where there is more than one worker.

    Args:
        job: a function of a module; the first worker leaves its result in the folder.
        folder: on storage that all workers reach.
        machines: on what.
    """
    if machines.workers == 1:
        job(folder, ALONE, torch.device("cuda" if machines.gpus_per_worker else "cpu"))
        return
    import ray.train
    from ray.train.torch import TorchTrainer

    resources = {"CPU": 1.0, "GPU": machines.gpus_per_worker}
    trainer = TorchTrainer(
        _in_a_worker,
        train_loop_config={"job": job, "folder": str(folder.absolute())},
        scaling_config=ray.train.ScalingConfig(
            num_workers=machines.workers,
            use_gpu=machines.gpus_per_worker > 0,
            resources_per_worker={key: value for key, value in resources.items() if value},
        ),
        run_config=ray.train.RunConfig(
            name=folder.name,
            storage_path=str(folder.absolute() / "ray"),
            logging_config=quiet_train(),  # type: ignore[call-arg]  # its types are of version 1
        ),
    )
    with connected(told=True):
        trainer.fit()


def _in_a_worker(config: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import get_device

    quiet_train()
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    config["job"](Path(config["folder"]), share, get_device())
    if share.world > 1:
        dist.barrier()  # nobody leaves before the result is written
