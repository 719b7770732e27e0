"""One worker's steps: what an earlier checkpoint, a precision or an accumulation changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from c2vl.config.experiment import Experiment
from c2vl.config.reading import from_dict
from c2vl.objective.base import Batch
from c2vl.skeletons.layout import get_layout
from c2vl.training.learner import Learner

N, DIMS = 8, {"language": 6, "vision": 5}


def experiment(**changes: Any) -> Experiment:
    """One edge has a weight of 0, so that its parameters are frozen."""
    values: dict[str, Any] = {
        "prompts": {"language": "l", "vision": "v", "adapter": True},
        "model": {"hidden": 4, "feature": 16},
        "objective": {
            "learn_temperature": True,
            "weights": {"skeleton_vision": 0, "vision_language": 0.3},
        },
        "train": {"batch_size": N},
    }
    return from_dict({**values, **changes})


def batch(seed: int = 1) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 2, 16, 20, 3, generator=draw)
    present = torch.ones(N, 2, dtype=torch.bool)
    present[1::2, 1] = False
    concepts = {name: normalize(torch.randn(N, dim, generator=draw)) for name, dim in DIMS.items()}
    return Batch(x, present, concepts, torch.arange(N) % 3)


def learner(settings: Experiment) -> Learner:
    return Learner(settings, get_layout("kinect20"), DIMS, 3, 10, torch.device("cpu"))


@pytest.mark.parametrize("optim", [{}, {"momentum": 0}, {"name": "adamw"}], ids=str)
def test_a_checkpoint_whose_optimizer_knows_the_unused_edge(optim: dict[str, Any]) -> None:
    """As written before parameters of unused edges were frozen."""
    settings = experiment(optim=optim)
    earlier, today = learner(settings), learner(settings)
    for value in earlier.student.parameters():
        value.requires_grad_(True)
    earlier.optimizer = earlier._optimizer()
    earlier.step(batch(), 0)
    today.load_state_dict(copy.deepcopy(earlier.state_dict()))
    for one in (earlier, today):
        one.step(batch(2), 1)
    for a, b in zip(earlier.student.parameters(), today.student.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not value.requires_grad for value in today.student.parameters())
