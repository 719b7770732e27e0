"""Which pairs of skeleton and concept training believes: a running score of each. Ours.

The paper takes pairs for noisy and softens all of them alike. A wrong pair fits badly all through
training, so its mean similarity tells it from the right ones (noisy correspondence, Huang et al.,
NeurIPS 2021, use the loss likewise; the two Gaussians are those of Arazo et al., ICML 2019).

Shapes: N sequences of a batch, P sequences that pretraining sees.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

DECAY = 0.8  # of a score at each visit
_ROUNDS = 30  # of expectation maximisation


class PairScores(nn.Module):
    """The running similarity of each pair of one edge, part of the checkpoint.

    Args:
        sequences: P.
    """

    score_P: Tensor
    visits_P: Tensor

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self.register_buffer("score_P", torch.zeros(sequences))
        self.register_buffer("visits_P", torch.zeros(sequences))

    @torch.no_grad()
    def update(self, rows_N: Tensor, similar_N: Tensor) -> None:
        """Take the similarities of a batch into the means."""
        self.visits_P[rows_N] += 1
        weight_N = (1 - DECAY) / (1 - DECAY ** self.visits_P[rows_N])  # a plain mean at first
        self.score_P[rows_N] += weight_N * (similar_N - self.score_P[rows_N])

    @torch.no_grad()
    def believed(self, rows_N: Tensor) -> Tensor:
        """Return which pairs are likelier right than wrong, (N,) bool.

        Two Gaussians are fitted to the scores of all visited pairs.
        """
        seen_P = self.score_P[self.visits_P > 0].double()
        wrong_N = likelier_low(seen_P, self.score_P[rows_N].double())
        return ~wrong_N


def likelier_low(values_P: Tensor, asked_N: Tensor) -> Tensor:
    """Say which values belong to the lower of two Gaussians fitted to others, (N,) bool.

    Nothing above the higher mean does: the wider Gaussian is the likelier one in both tails.
    """
    low, high = values_P.quantile(0.25), values_P.quantile(0.75)
    if not high > low:
        return torch.zeros_like(asked_N, dtype=torch.bool)
    mean_2 = torch.stack([low, high])
    var_2 = values_P.var().expand(2) / 4
    share_2 = torch.full_like(mean_2, 0.5)
    least = 1e-6 * float(values_P.var())

    def log_density(values: Tensor) -> Tensor:
        apart = (values[:, None] - mean_2) ** 2 / var_2
        return share_2.log() - (var_2.log() + math.log(2 * math.pi) + apart) / 2

    for _ in range(_ROUNDS):
        belongs_P2 = log_density(values_P).softmax(1)
        size_2 = belongs_P2.sum(0).clamp_min(1e-9)
        mean_2 = (belongs_P2 * values_P[:, None]).sum(0) / size_2
        var_2 = (belongs_P2 * (values_P[:, None] - mean_2) ** 2).sum(0) / size_2 + least
        share_2 = size_2 / len(values_P)
    lower = int(mean_2.argmin())
    chosen_N = log_density(asked_N).argmax(1) == lower
    return chosen_N & (asked_N < mean_2.max())
