"""Which pairs of skeleton and concept training believes: a running score of each. Ours.

The paper takes pairs for noisy and softens all of them alike. A wrong pair fits badly all through
training, so its mean similarity tells it from the right ones (noisy correspondence, Huang et al.,
NeurIPS 2021, use the loss likewise; the two Gaussians are those of Arazo et al., ICML 2019).

Shapes: N sequences of a batch, P sequences that pretraining sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

DECAY = 0.8  # of a score at each visit


class PairScores(nn.Module):
    """The running similarity of each pair of one edge, part of the checkpoint.

    Args:
        sequences: P.
    """

    score_P: Tensor
    visits_P: Tensor
    wrong_P: Tensor
    due: Tensor

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self.register_buffer("score_P", torch.zeros(sequences))
        self.register_buffer("visits_P", torch.zeros(sequences))
        self.register_buffer("wrong_P", torch.zeros(sequences, dtype=torch.bool))
        self.register_buffer("due", torch.zeros((), dtype=torch.long))  # rows until judged anew

    @torch.no_grad()
    def update(self, rows_N: Tensor, similar_N: Tensor) -> None:
        """Take the similarities of a batch into the means."""
        self.visits_P[rows_N] += 1
        weight_N = (1 - DECAY) / (1 - DECAY ** self.visits_P[rows_N])  # a plain mean at first
        self.score_P[rows_N] += weight_N * (similar_N - self.score_P[rows_N])

    @torch.no_grad()
    def believed(self, rows_N: Tensor) -> Tensor:
        """Return which pairs of a batch are likelier right than wrong, (N,) bool.

        Once an epoch, that is after P rows, all pairs are judged anew by the two Gaussians.
        """
        self.due -= len(rows_N)
        if self.due <= 0:
            self.due.fill_(len(self.score_P))
            seen_P = self.visits_P > 0
            wrong, _ = lower_of_two(self.score_P[seen_P].double().cpu().numpy())
            self.wrong_P[seen_P] = torch.from_numpy(wrong > 0.5).to(self.wrong_P.device)
        return ~self.wrong_P[rows_N]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Checkpoints of earlier releases say nothing of these: the pairs are judged at once."""
        for name in ("wrong_P", "due"):
            state.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        super()._load_from_state_dict(state, prefix, *rest)


def lower_of_two(values_P: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Fit two Gaussians to values; return how likely each is of the lower one, and its weight.

    Nothing above the higher mean is: the wider Gaussian is the likelier one in both tails. Of
    values that are all the same none is.

    Returns:
        (P,) probabilities; an estimate of the share of values of the lower Gaussian.
    """
    if len(values_P) < 2 or not np.ptp(values_P) > 0:
        return np.zeros(len(values_P)), 0.0
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(2, random_state=0, n_init=5).fit(values_P[:, None])
    lower = int(mixture.means_.argmin())
    likely = mixture.predict_proba(values_P[:, None])[:, lower]
    likely[values_P >= mixture.means_.max()] = 0.0
    return likely, float(mixture.weights_[lower])
