"""Which pairs of skeleton and concept training believes: a running score of each. Ours.

The paper takes pairs for noisy and softens all of them alike. A wrong pair fits badly all through
training, so its mean similarity tells it from the right ones (noisy correspondence, Huang et al.,
NeurIPS 2021, use the loss likewise).

Shapes: N sequences of a batch, P sequences that pretraining sees, S shuffled pairs, D features.
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
        self._due: int | None = None  # the same on the host: a GPU would have to be waited for

    @torch.no_grad()
    def update(self, rows_N: Tensor, similar_N: Tensor, there_N: Tensor) -> None:
        """Take the similarities of a batch, of the rows that have concepts, into the means."""
        self.visits_P[rows_N] += there_N
        visits_N = self.visits_P[rows_N].clamp_min(1)
        weight_N = (1 - DECAY) / (1 - DECAY**visits_N)  # a plain mean at first
        self.score_P[rows_N] += (weight_N * (similar_N - self.score_P[rows_N])).where(there_N, 0)

    @torch.no_grad()
    def believed(self, rows_N: Tensor, a_ND: Tensor, b_ND: Tensor, there_N: Tensor) -> Tensor:
        """Return which pairs of a batch are likelier right than wrong, (N,) bool.

        Once an epoch, that is after P rows, all pairs are judged anew, beside the other pairings
        within the batch.

        Args:
            rows_N: which of the P.
            a_ND: unit rows of the skeletons, as of now.
            b_ND: unit rows of the concepts.
            there_N: bool, which have concepts.
        """
        self._due = (int(self.due) if self._due is None else self._due) - len(rows_N)
        if self._due <= 0 and there_N.sum() > 1:
            self._due = len(self.score_P)
            similar_NN = a_ND[there_N] @ b_ND[there_N].t()
            own_NN = torch.eye(len(similar_NN), dtype=torch.bool, device=a_ND.device)
            seen_P = self.visits_P > 0
            wrong, _ = like_shuffled(*map(_numbers, (self.score_P[seen_P], similar_NN[~own_NN])))
            self.wrong_P[seen_P] = torch.from_numpy(wrong > 0.5).to(self.wrong_P.device)
        self.due.fill_(self._due)
        return ~self.wrong_P[rows_N]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Checkpoints of earlier releases say nothing of these: the pairs are judged at once."""
        for name in ("wrong_P", "due"):
            state.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        super()._load_from_state_dict(state, prefix, *rest)
        self._due = None


def _numbers(values: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.double().cpu().numpy()
    return found


def like_shuffled(
    score_P: NDArray[np.float64], shuffled_S: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return how likely each pair is wrong, given what wrong pairs score.

    The local false discovery rate (Efron et al., JASA 2001): the null distribution is that of
    shuffled pairs, its share π twice that of the scores below its median, where right pairs are
    rare (Storey, JRSS B 2002), and ``π f_shuffled / f`` falls with the score (isotonic regression).
    Where all pairs are right π is near 0 and none is doubted, where two Gaussians always find a
    lower one (docs/evidence.md). Of scores at a median that shuffled ones
    share (one caption for all, say) as many count as below it as make half of the shuffled ones.

    Args:
        score_P: of the pairs.
        shuffled_S: of skeletons with other sequences' concepts.

    Returns:
        (P,) probabilities; π.
    """
    from sklearn.isotonic import IsotonicRegression

    median = np.median(shuffled_S)
    below, ties = float((score_P < median).mean()), int((shuffled_S == median).sum())
    if ties > 1:  # an odd number of scores has its median among them
        part = (len(shuffled_S) / 2 - int((shuffled_S < median).sum())) / ties
        below += part * float((score_P == median).mean())
    share = min(2 * below, 1.0)
    both = np.concatenate([score_P, shuffled_S])
    is_shuffled = np.arange(len(both)) >= len(score_P)
    weight = np.where(is_shuffled, 1 / len(shuffled_S), 1 / len(score_P))
    falling = IsotonicRegression(increasing=False, y_min=0, y_max=1)
    shuffled_P = falling.fit(both, is_shuffled, sample_weight=weight).predict(score_P)
    return np.clip(share * shuffled_P / (1 - shuffled_P).clip(1e-12), 0, 1), share
