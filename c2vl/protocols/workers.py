"""Run a job of a protocol in this process, or in a group of Ray Train workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from c2vl.support.ray_session import connected, quiet_train
from c2vl.training.device import told_plainly, worker_device


@dataclass(frozen=True)
class Share:
    """The share of a batch that one worker of a group computes; one worker alone has all of it.

    Attributes:
        rank: which worker, from 0.
        world: number of workers.
    """

    rank: int = 0
    world: int = 1

    def own(self, rows: Tensor) -> Tensor:
        """Every ``world``-th row, from ``rank``."""
        return rows[self.rank :: self.world]


Job = Callable[[Path, Share, torch.device], None]
"""Does what a folder describes, as one worker; the first worker leaves the result there."""


def run_job(job: Job, folder: Path, *, workers: int, gpus_per_worker: float) -> None:
    """Run a job in this process, or with Ray Train where there is more than one worker.

    Args:
        job: a function of a module.
        folder: on storage that all workers reach.
        workers: how many.
        gpus_per_worker: 0 is the CPU.
    """
    if workers == 1:
        device = worker_device(gpus_per_worker)
        with told_plainly(folder.name, device):
            job(folder, Share(), device)
        return
    import ray.train
    from ray.train.torch import TorchTrainer

    resources = {"CPU": 1.0, "GPU": gpus_per_worker}
    trainer = TorchTrainer(
        _in_a_worker,
        train_loop_config={
            "job": job,
            "folder": str(folder.absolute()),
            "gpus": gpus_per_worker,
            "imports": os.environ.get("C2VL_IMPORTS", ""),  # parts that the encoder needs
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=gpus_per_worker > 0,
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

    quiet_train()
    os.environ["C2VL_IMPORTS"] = config["imports"]
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    device = worker_device(config["gpus"], ray.get_gpu_ids())
    folder = Path(config["folder"])
    with told_plainly(folder.name, device):
        config["job"](folder, share, device)
    if share.world > 1:
        dist.barrier()  # every worker stays until the result is written
