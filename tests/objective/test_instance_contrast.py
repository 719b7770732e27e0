"""SkeletonCLR's and AimCLR's losses in closed form, their queue, and one short training each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from c2vl.objective.base import Batch, Sizes, Step
from c2vl.objective.instance_contrast import (
    SkeletonCLR,
    contrast,
    divergence,
    key_logits,
    mined,
)
from c2vl.skeletons.layout import get_layout
from c2vl.training.learner import Learner
from tests.small import from_dict

F, P = 6, 5


def rows(count: int, seed: int, size: int = P) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, size, generator=draw, dtype=torch.float64))


def test_the_contrast_of_formulas() -> None:
    q, k, queue = rows(3, 0), rows(3, 1), rows(7, 2)
    logits = key_logits(q, k, queue, 0.5)
    expected, expected_mined, expected_d3m = 0.0, 0.0, 0.0
    extreme = key_logits(rows(3, 3), k, queue, 0.5)
    positive = mined(2, logits, extreme)
    p, p_extreme = np.exp(logits.numpy()), np.exp(extreme.numpy())
    p, p_extreme = p / p.sum(1, keepdims=True), p_extreme / p_extreme.sum(1, keepdims=True)
    for i in range(3):
        similarity = [float(q[i] @ key) / 0.5 for key in [k[i], *queue]]
        np.testing.assert_allclose(logits[i].numpy(), similarity)
        expected -= math.log(p[i, 0]) / 3
        near = {0} | {
            1 + j for row in (logits, extreme) for j in np.argsort(-row[i, 1:])[:2].tolist()
        }
        assert near == set(positive[i].nonzero()[:, 0].tolist())
        expected_mined -= math.log(sum(p[i, j] for j in near)) / 3
        expected_d3m -= float((p[i] * np.log(p_extreme[i])).sum()) / 3
    assert float(contrast(logits)) == pytest.approx(expected, abs=1e-9)
    assert float(contrast(logits, positive)) == pytest.approx(expected_mined, abs=1e-9)
    assert float(divergence(logits, extreme)) == pytest.approx(expected_d3m, abs=1e-9)
    usual = logits.clone().requires_grad_()
    divergence(usual, extreme.requires_grad_()).backward()
    assert usual.grad is None and extreme.grad is not None  # the usual view is held fixed


def settings(name: str, **changes: Any) -> Any:
    return from_dict({"objective": {"name": name, "projection": P, **changes}})


def test_the_queue_holds_the_newest_keys_and_no_more_than_the_data() -> None:
    objective = SkeletonCLR(settings("skeletonclr", queue=5), Sizes(F, {}, 3, 100))
    assert len(SkeletonCLR(settings("skeletonclr"), Sizes(F, {}, 3, 10)).queue_QP) == 8
    random = objective.queue_QP.clone()
    batch = Batch(
        torch.zeros(2, 1, 1, 1, 3), torch.ones(2, 1, dtype=torch.bool), {}, torch.zeros(2)
    )
    keys = []
    for number in range(3):
        features = rows(2, 10 + number, F).float()
        before = objective.queue_QP.clone()
        found, _ = objective.loss(features, batch, Step(0.0, (objective, features)))
        key = normalize(objective.head(features)).detach()
        torch.testing.assert_close(found, contrast(key_logits(key, key, before, 0.07)))
        found.backward()
        with torch.no_grad():
            objective.after_step()
        keys += [*key]
    torch.testing.assert_close(objective.queue_QP[:1], keys[5][None])  # the oldest gave way
    torch.testing.assert_close(objective.queue_QP[1:], torch.stack(keys[1:5]))
    assert not torch.isclose(objective.queue_QP, random).all(1).any()


@pytest.mark.parametrize(("name", "accumulate"), [("skeletonclr", 2), ("aimclr", 1)])
def test_a_training(name: str, accumulate: int) -> None:
    """Views of one of 40 poses come to agree; what a checkpoint holds goes on alike.

    With a key encoder that uses running statistics the loss comes close to chance here.
    """
    experiment = from_dict(
        {
            "objective": {"name": name, "projection": 16},
            "model": {"hidden": 4, "feature": 16, "temporal_kernel": 3},
            "optim": {"name": "adamw", "lr": 0.003},
            "train": {"batch_size": 8, "accumulate": accumulate},
        }
    )
    made, again = (
        Learner(experiment, get_layout("kinect20"), {}, 3, 80, torch.device("cpu"), 40)
        for _ in range(2)
    )
    draw = torch.Generator().manual_seed(0)
    poses = torch.randn(40, 1, 1, 20, 3, generator=draw)

    def batch(step: int) -> Batch:
        some = poses[step % 5 * 8 :][:8].expand(-1, -1, 16, -1, -1)
        views = [some + 0.1 * torch.randn(some.shape, generator=draw) for _ in range(3)]
        further = tuple(views[1 : 2 if name == "skeletonclr" else 3])
        present = torch.ones(8, 1, dtype=torch.bool)
        return Batch(views[0], present, {}, torch.zeros(8).long(), views=further)

    losses = [made.step(batch(step), step)["loss"] for step in range(42)]  # the last two mine
    chance = math.log(33) * (1 if name == "skeletonclr" else 2)  # a queue of 32 keys
    assert sum(losses[35:40]) / 5 < 0.85 * chance, losses
    again.load_state_dict(made.state_dict())
    one = batch(42)
    assert made.step(one, 42) == again.step(one, 42)
