"""Scores of pairs in closed form, and a training that finds the wrong ones."""

from __future__ import annotations

import copy

import torch
from sklearn.mixture import GaussianMixture
from torch.nn.functional import normalize

from c2vl.objective.base import Batch, Sizes, Step
from c2vl.objective.contrast import Contrast
from c2vl.objective.reliability import DECAY, PairScores, likelier_low
from tests.small import from_dict


def test_scores_are_running_means() -> None:
    scores = PairScores(4)
    for value in (1.0, 0.0, 0.5):
        scores.update(torch.tensor([2, 0]), torch.tensor([value, 1.0]))
    weights = torch.tensor([DECAY**2, DECAY, 1])
    expected = float((weights * torch.tensor([1.0, 0.0, 0.5])).sum() / weights.sum())
    torch.testing.assert_close(scores.score_P, torch.tensor([1.0, 0, expected, 0]))


def test_two_gaussians_as_scikit_learn_fits_them() -> None:
    draw = torch.Generator().manual_seed(0)
    low, high = (torch.randn(n, generator=draw).double() * 0.1 for n in (300, 200))
    values = torch.cat([low, high + 0.5])
    found = likelier_low(values, values)
    mixture = GaussianMixture(2, random_state=0, tol=1e-8).fit(values[:, None].numpy())
    wanted = mixture.predict(values[:, None].numpy()) == mixture.means_.argmin()
    assert (found.numpy() == wanted).mean() > 0.99
    assert not likelier_low(torch.ones(5).double(), torch.ones(3).double()).any()


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
