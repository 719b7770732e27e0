"""Masked motion prediction: the formulas written out, what is hidden, and short trainings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from c2vl.config.experiment import ModelSettings
from c2vl.encoder import build
from c2vl.model.base import Backbone
from c2vl.objective.base import Batch, Sizes, Step
from c2vl.objective.masked_motion import (
    MaskedMotion,
    draw_mask,
    hide,
    masked_error,
    normalised,
    segments,
)
from c2vl.registry import register
from c2vl.skeletons.layout import get_layout
from c2vl.support.errors import UserError
from c2vl.training.learner import Learner
from tests.small import from_dict

V, F = 20, 16


def settings(**changes: Any) -> Any:
    model = {"hidden": 4, "feature": F, "temporal_kernel": 3, **changes.pop("model", {})}
    objective = {"name": "masked_motion", **changes.pop("objective", {})}
    optim = {"name": "adamw", "lr": 0.01}
    return from_dict({"model": model, "objective": objective, "optim": optim, **changes})


def walks(n: int, frames: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bodies (n, 2, T, V, 3) that swing as a whole: one joint tells what the others do."""
    draw = torch.Generator().manual_seed(seed)
    phase_NM = torch.rand(n, 2, 1, 1, 1, generator=draw, dtype=dtype)
    pose_V3 = torch.randn(V, 3, generator=draw, dtype=dtype)
    time = torch.arange(frames, dtype=dtype)[:, None, None]
    return pose_V3 + torch.sin(2 * math.pi * (phase_NM + time / 40))


def present(n: int) -> Tensor:
    """Every second sequence has one body."""
    found = torch.ones(n, 2, dtype=torch.bool)
    found[1::2, 1] = False
    return found


def test_the_error_of_formulas() -> None:
    """13 frames in 4 steps: the last has one frame, and beyond it nothing moves."""
    n, T, t, r = 3, 13, 4, 4
    x = walks(n, T, dtype=torch.float64)
    draw = np.random.default_rng(0)
    predicted = torch.from_numpy(draw.normal(size=(n, 2, t, V, r * 3))).requires_grad_()
    mask = torch.from_numpy(draw.random((n, 2, t, V)) < 0.7)
    found = masked_error(predicted, normalised(segments(x, t)), mask, present(n))
    expected = 0.0
    for i in range(n):
        errors = []
        for m in range(2 if i % 2 == 0 else 1):
            for step, joint in np.argwhere(mask[i, m].numpy()):
                motion = np.zeros((r, 3))
                for k, frame in enumerate(range(r * step, min(r * step + r, T - 1))):
                    motion[k] = x[i, m, frame + 1, joint] - x[i, m, frame, joint]
                target = (motion - motion.mean()) / np.sqrt(motion.var(ddof=1) + 1e-6)
                own = predicted[i, m, step, joint].detach().numpy().reshape(r, 3)
                errors.append(((own - target) ** 2).mean())
        expected += np.mean(errors) / n
    assert float(found.detach()) == pytest.approx(expected, abs=1e-9)
    found.backward()
    assert predicted.grad is not None
    counted = mask & present(n)[:, :, None, None]
    assert torch.equal(
        predicted.grad.abs().amax(-1) > 0, counted
    )  # hidden places of present bodies


def test_what_is_hidden() -> None:
    """Ratio of each body, likelier what moves; a low temperature hides nothing else."""
    torch.manual_seed(0)
    x = walks(50, 16)
    x[:, :, :, 5:] = x[:, :, :1, 5:]  # five joints move
    motion = segments(x, 4)
    mask = draw_mask(motion, 0.9, 0.8)
    assert (mask.flatten(2).sum(2) == int(0.9 * 4 * V)).all()
    hidden = mask[..., :5].float().mean(), mask[..., 5:].float().mean()
    assert hidden[0] > hidden[1] + 0.01 and hidden[1] > 0.8
    sharp = draw_mask(motion, 0.25, 0.001)
    assert not sharp[..., 5:].any() and sharp[..., :5].float().mean() == 1
    assert [int(draw_mask(motion, ratio, 1.0)[0, 0].sum()) for ratio in (1e-6, 0.999999)] == [1, 79]
    seen = hide(x, mask)
    frames = mask.repeat_interleave(4, dim=2)
    assert torch.equal(seen[~frames], x[~frames])
    assert not seen[frames].any()


def test_the_prediction_reads_visible_places_alone() -> None:
    torch.manual_seed(0)
    objective = MaskedMotion(settings(data={"frames": 16}), Sizes(F, {}, 3, 10, (4, V)))
    batch = Batch(walks(3, 16), present(3), {}, torch.zeros(3))
    seen = objective.seen(batch)
    assert seen.views[0] is batch.x and seen.of_student[0] is seen.x
    maps = torch.randn(3, 2, 4, V, F, requires_grad=True)
    loss, _ = objective.loss(maps, seen, Step(0.0))
    loss.backward()
    assert maps.grad is not None
    read = maps.grad.abs().amax(-1) > 0
    assert torch.equal(read, ~seen.mask & present(3)[:, :, None, None])


@pytest.mark.parametrize(("name", "accumulate"), [("stgcn", 3), ("ctrgcn", 1)])
def test_a_training(name: str, accumulate: int) -> None:
    """It learns how joints swing; a step in parts is a step; a checkpoint goes on alike."""
    experiment = settings(
        model={"name": name},
        objective={"mask_ratio": 0.5},
        data={"frames": 14},
        train={"batch_size": 8, "accumulate": accumulate},
    )
    made, again = (
        Learner(experiment, get_layout("kinect20"), {}, 3, 200, torch.device("cpu"), 40)
        for _ in range(2)
    )
    x, slots = walks(40, 14), present(8)

    def step(learner: Learner, number: int) -> float:
        torch.manual_seed(number)  # as the loop does
        rows = x[number % 5 * 8 :][:8]
        return learner.step(Batch(rows, slots, {}, torch.zeros(8).long()), number)["loss"]

    losses = [step(made, number) for number in range(30)]
    assert sum(losses[-5:]) / 5 < 0.7, losses  # 11/12 without knowing the phase
    again.load_state_dict(made.state_dict())
    assert step(made, 30) == step(again, 30)


@pytest.mark.parametrize("name", ["stgcn", "ctrgcn"])
def test_features_are_the_mean_of_their_map(name: str) -> None:
    encoder = build(get_layout("kinect20"), {"name": name, "hidden": 4, "feature": F}).eval()
    x, there = walks(3, 13), present(3)
    maps = encoder(x, there, maps=True)
    assert maps.shape == (3, 2, 4, V, F) and not maps[1, 1].any()
    mean = maps.mean((2, 3)).sum(1) / there.sum(1, keepdim=True)
    torch.testing.assert_close(encoder(x, there), mean, rtol=0, atol=1e-6)
    assert torch.equal(encoder(x[:, :1], there[:, :1], maps=True), maps[:, :1])


class NoMap(Backbone):
    """A backbone that mixes joints for good."""

    def __init__(self, layout: Any, *, feature: int = F) -> None:
        super().__init__(layout, feature)
        self.layer = torch.nn.Linear(3 * self.joints, feature)

    def bodies(self, x_BTVC: Tensor) -> Tensor:
        mixed: Tensor = self.layer(x_BTVC.flatten(2)).mean(1)
        return mixed


def test_a_backbone_without_feature_maps_is_refused() -> None:
    register("backbone", "no_map", NoMap, settings=ModelSettings)
    from_dict({"model": {"name": "no_map"}})
    with pytest.raises(UserError, match=r"model\.name 'no_map' does not have: choose another"):
        from_dict({"model": {"name": "no_map"}, "objective": {"name": "masked_motion"}})
