"""Scores of pairs in closed form, and a training that finds the wrong ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from c2vl.objective.base import Batch, Sizes, Step
from c2vl.objective.contrast import Contrast
from c2vl.objective.reliability import DECAY, PairScores, lower_of_two
from tests.small import from_dict


def test_scores_are_running_means() -> None:
    scores = PairScores(4)
    for value in (1.0, 0.0, 0.5):
        scores.update(torch.tensor([2, 0]), torch.tensor([value, 1.0]))
    weights = torch.tensor([DECAY**2, DECAY, 1])
    expected = float((weights * torch.tensor([1.0, 0.0, 0.5])).sum() / weights.sum())
    torch.testing.assert_close(scores.score_P, torch.tensor([1.0, 0, expected, 0]))


def test_two_gaussians() -> None:
    """What they are fitted to, where the densities cross, and nothing in the upper tail."""
    draw = np.random.default_rng(0)
    low, high = 0.3 * draw.normal(size=3000), 2 + 0.3 * draw.normal(size=1000)
    likely, share = lower_of_two(np.concatenate([low, high, [9.0]]))
    assert share == pytest.approx(0.75, abs=0.01)
    assert likely[-1] == 0
    assert (likely[:3000] > 0.5).mean() > 0.99 and (likely[3000:] > 0.5).mean() < 0.01
    none, share = lower_of_two(np.ones(5))
    assert not none.any() and share == 0


def test_pairs_are_judged_once_an_epoch_also_after_a_checkpoint() -> None:
    scores = PairScores(4)
    rows = torch.arange(4)
    scores.update(rows, torch.tensor([0.0, 0.01, 1.0, 1.01]))
    assert scores.believed(rows[:2]).tolist() == [False, False]
    scores.score_P += torch.tensor([2.0, 2, 0, 0])
    state = scores.state_dict()
    resumed, earlier = PairScores(4), PairScores(4)
    resumed.load_state_dict(state)
    earlier.load_state_dict({key: state[key] for key in ("score_P", "visits_P")})
    for one in (scores, resumed):
        assert one.believed(rows[:2]).tolist() == [False, False]  # judged with the epoch's first
        assert one.believed(rows[2:]).tolist() == [False, False]  # the next epoch
    assert earlier.believed(rows[2:]).tolist() == [False, False]


def test_wrong_pairs_are_left_out() -> None:
    """Of 200 pairs 60 have another's concept: after training they are out of the loss."""
    torch.manual_seed(0)
    experiment = from_dict(
        {"prompts": {"language": "l"}, "objective": {"targets": "hard", "keep_after": 0.5}}
    )
    objective = Contrast(experiment, Sizes(16, {"language": 16}, 2, 200))
    features = torch.randn(200, 16)
    concepts = normalize(features @ torch.randn(16, 16))  # which the heads can learn
    wrong = torch.arange(200) < 60
    concepts[wrong] = concepts[wrong].roll(1, 0)

    def batch(chosen: torch.Tensor) -> Batch:
        empty, present = torch.zeros(len(chosen), 1, 1, 1, 3), torch.ones(len(chosen), 1).bool()
        language = {"language": concepts[chosen]}
        return Batch(empty, present, language, torch.zeros(len(chosen)).long(), rows=chosen)

    every = torch.arange(200)
    optimizer = torch.optim.Adam(objective.parameters(), 0.02)
    for step in range(60):
        loss, _ = objective.loss(features, batch(every), Step(step / 120))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = copy.deepcopy(objective.scores)
    with_mask, _ = objective.loss(features, batch(every), Step(0.5))
    believed = objective.scores["language"].believed(every)
    assert (believed == ~wrong).float().mean() > 0.95
    objective.scores = scores
    kept = every[believed]
    alone, _ = objective.loss(features[kept], batch(kept), Step(0.4))
    torch.testing.assert_close(with_mask, alone)
