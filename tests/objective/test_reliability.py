"""Scores of pairs in closed form, and a training that finds the wrong ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from c2vl.objective.base import Batch, Sizes, Step
from c2vl.objective.contrast import Contrast
from c2vl.objective.reliability import DECAY, PairScores, like_shuffled
from tests.small import from_dict


def test_scores_are_running_means() -> None:
    scores = PairScores(4)
    there = torch.tensor([True, True, False])
    for value in (1.0, 0.0, 0.5):
        scores.update(torch.tensor([2, 0, 3]), torch.tensor([value, 1.0, 5]), there)
    weights = torch.tensor([DECAY**2, DECAY, 1])
    expected = float((weights * torch.tensor([1.0, 0.0, 0.5])).sum() / weights.sum())
    torch.testing.assert_close(scores.score_P, torch.tensor([1.0, 0, expected, 0]))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_pairs_are_doubted_as_far_as_they_score_like_shuffled_ones(share: float) -> None:
    """Of known distributions the posterior is known; where all pairs are right none is doubted."""
    draw = np.random.default_rng(0)
    wrong, apart, sd = draw.random(4000) < share, 0.8, 0.2
    score = np.where(wrong, 0, apart) + sd * draw.normal(size=4000)
    found, estimated = like_shuffled(score, sd * draw.normal(size=20_000))
    assert estimated == pytest.approx(share, abs=0.03)
    odds = (1 - share) * np.exp((score - apart / 2) * apart / sd**2)  # right to wrong, of each
    assert np.abs(found - share / (share + odds).clip(1e-12)).mean() < 0.02
    order = np.argsort(score)
    assert (np.diff(found[order]) <= 0).all()


def test_pairs_that_score_alike_are_like_shuffled_ones() -> None:
    """One caption for all says nothing; of a few the share counts those that tie in part."""
    found, estimated = like_shuffled(np.zeros(50), np.zeros(1000))
    assert estimated == 1 and (found == 1).all()
    shuffled = np.repeat([0.0, 1.0, 2.0], [300, 600, 100])
    half_wrong = np.repeat([0.0, 1.0, 2.0, 3.0], [15, 30, 5, 50])
    assert like_shuffled(half_wrong, shuffled)[1] == pytest.approx(0.5)


def test_pairs_are_judged_once_an_epoch_also_after_a_checkpoint() -> None:
    scores = PairScores(4)
    rows, apart, there = torch.arange(4), torch.eye(4), torch.ones(4, dtype=torch.bool)

    def believed(one: PairScores, chosen: torch.Tensor) -> list[bool]:
        return one.believed(chosen, apart, apart, there).tolist()

    scores.update(rows, torch.tensor([-0.02, -0.01, 1.0, 1.01]), there)
    assert believed(scores, rows[:2]) == [False, False]
    scores.score_P += torch.tensor([2.0, 2, -2, -2])
    state = scores.state_dict()
    resumed, earlier = PairScores(4), PairScores(4)
    resumed.load_state_dict(state)
    earlier.load_state_dict({key: state[key] for key in ("score_P", "visits_P")})
    for one in (scores, resumed):
        assert believed(one, rows[:2]) == [False, False]  # judged with the epoch's first
        assert believed(one, rows[2:]) == [False, False]  # the next epoch
        assert int(one.due) == 4, "a checkpoint says how many rows are left"
    assert believed(earlier, rows[2:]) == [False, False]


def test_wrong_pairs_are_left_out() -> None:
    """Of 200 pairs 60 have another's concept: many of them, and no right one, leave the loss."""
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
    believed = ~objective.scores["language"].wrong_P
    assert believed[~wrong].all() and (~believed[wrong]).float().mean() > 0.2
    objective.scores = scores
    kept = every[believed]
    alone, _ = objective.loss(features[kept], batch(kept), Step(0.4))
    torch.testing.assert_close(with_mask, alone)
