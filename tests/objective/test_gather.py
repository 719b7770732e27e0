"""k workers with N/k samples give the gradients of one worker with N, over a real gloo group."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from c2vl.config.experiment import Experiment
from c2vl.objective.base import Batch, Step
from c2vl.objective.supervised import Supervised
from c2vl.skeletons.layout import get_layout
from c2vl.training.learner import Learner
from tests.shell import free_port
from tests.small import from_dict

N = 8


OBJECTIVES: dict[str, dict[str, Any]] = {
    "every edge": {
        "targets": "both",
        "consistency": "cross",
        "reverse_guide": "skeleton",
        "learn_temperature": True,
        "weights": {"skeleton_vision": 0.5, "vision_language": 0.3},
    },
    "an edge of weight 0": {
        "learn_temperature": True,
        "weights": {"skeleton_vision": 0, "vision_language": 0.3},
    },
    "without doubtful pairs": {"keep_after": 0.2, "weights": {"vision_language": 0.3}},
    "in two parts": {"learn_temperature": True, "weights": {"vision_language": 0.3}},
    "supervised": {"name": "supervised"},
    "an averaged teacher": {
        "targets": "inter",
        "teacher": "ema",
        "weights": {"vision_language": 0.3},
    },
}


def experiment(kind: str) -> Experiment:
    return from_dict(
        {
            "prompts": {"language": "l", "vision": "v", "adapter": True},
            "model": {"hidden": 4, "feature": 16},
            "objective": OBJECTIVES[kind],
            "train": {"accumulate": 2 if kind == "in two parts" else 1, "ema": 0.9},
        }
    )


def whole() -> Batch:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(N, 2, 16, 20, 3, generator=draw)
    present = torch.ones(N, 2, dtype=torch.bool)
    present[1::2, 1] = False
    concepts = {
        name: torch.nn.functional.normalize(torch.randn(N, dim, generator=draw))
        for name, dim in (("language", 6), ("vision", 5))
    }
    has = torch.arange(N) % 5 != 1  # some lack a modality: masks are gathered too
    concepts["vision"][~has] = 0
    return Batch(x, present, concepts, torch.arange(N) % 3, {"vision": has}, rows=torch.arange(N))


def learner(kind: str) -> Learner:
    made = Learner(
        experiment(kind),
        get_layout("kinect20"),
        {"language": 6, "vision": 5},
        classes=3,
        steps=10,
        device=torch.device("cpu"),
        sequences=N,
    )
    # Batch statistics are each worker's own on CPU; the objective is what is compared here.
    made.student.encoder.eval()
    return made


def gradients(made: Learner, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    parts = made.experiment.train.accumulate
    loss, _ = made._backward(batch.to(torch.device("cpu"), parts), Step(0.4))
    grads = {n: p.grad for n, p in made.student.named_parameters() if p.grad is not None}
    total = loss.detach()
    if dist.is_initialized() and isinstance(made.student.objective, Supervised):
        dist.all_reduce(total)  # each worker has its own share's mean
        total /= dist.get_world_size()
    return total.item(), grads


def worker(rank: int, world: int, port: int, folder: str, kinds: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    share = N // world
    part, batch = slice(rank * share, (rank + 1) * share), whole()
    mine = Batch(
        batch.x[part],
        batch.present[part],
        {name: rows[part] for name, rows in batch.concepts.items()},
        batch.labels[part],
        {name: rows[part] for name, rows in batch.has.items()},
        rows=batch.rows[part],
    )
    for kind in kinds:
        made = learner(kind)
        usual = world == 2 and kind != "in two parts"
        assert isinstance(made.wrapped, DistributedDataParallel) == usual
        torch.save(gradients(made, mine), f"{folder}/{kind} {rank}.pt")
        made.student.train()  # the averaged teacher then has statistics to be equal
        made.step(mine, 1)  # DistributedDataParallel tells of a missing gradient at the next step
        saved = [copy.deepcopy(made.state_dict())]
        dist.broadcast_object_list(saved)  # a checkpoint is the first worker's
        restarted = learner(kind)
        restarted.load_state_dict(saved[0])
        for one in (made, restarted):
            torch.manual_seed(rank)  # of dropout
            one.student.train()
            one.step(mine, 2)
        for name, value in made.student.named_parameters():
            assert torch.equal(value, restarted.student.get_parameter(name)), name
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("world", "kinds"),
    [
        (2, list(OBJECTIVES)),
        pytest.param(4, ["every edge", "an averaged teacher"], marks=pytest.mark.slow),
    ],
)
def test_workers_together_are_one(world: int, kinds: list[str], tmp_path: Path) -> None:
    port = free_port()
    mp.spawn(worker, (world, port, str(tmp_path), kinds), nprocs=world)
    for kind in kinds:
        alone = learner(kind)
        loss, expected = gradients(alone, whole())
        if kind == "without doubtful pairs":
            assert alone.student.objective.scores["language"].wrong_P.any()
        for rank in range(world):
            there, grads = torch.load(tmp_path / f"{kind} {rank}.pt", weights_only=True)
            assert there == pytest.approx(loss, abs=1e-5)
            assert grads.keys() == expected.keys()
            for name, gradient in grads.items():
                wanted = expected[name]
                torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6, msg=name)
