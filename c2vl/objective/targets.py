"""Contrast targets: one-hot, softened by self-similarity, softened by cross-consistency.

C²VL softens noisy pairs by "intra-modal self-similarity" and "inter-modal cross-consistency"
(arXiv 2405.20606). The formulas are our reconstruction after SoftCLIP (arXiv 2303.17561), Robust
xID (arXiv 2103.15916) and Andonian et al. (arXiv 2204.04588). No gradient passes through a target.

Shapes: N sequences of all workers, D concept dimension; all features are unit rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BISECTIONS = 30  # of log τ: to 2e-8 of it, less than single precision tells


def among(logits_NN: Tensor, kept_N: Tensor | None) -> Tensor:
    """Return logits whose softmax is zero in the columns of rows that take no part.

    Args:
        logits_NN: similarities.
        kept_N: bool, the rows that take part; None: all.
    """
    if kept_N is None:
        return logits_NN
    # The least finite number: an infinite one times a target of zero is no number.
    return logits_NN.masked_fill(~kept_N, torch.finfo(logits_NN.dtype).min)


def intra(
    guide_ND: Tensor, temperature: float, kept_N: Tensor | None = None, effective: float = 0.0
) -> Tensor:
    """Self-similarity of one modality: ``softmax_j(<g_i, g_j> / τ_intra)``.

    Args:
        guide_ND: unit rows.
        temperature: τ_intra.
        kept_N: bool, the rows that take part; None: all.
        effective: number of targets for which τ_intra is found instead (:func:`tempered`); 0: not.

    Returns:
        (N, N), rows sum to one.
    """
    if effective > 0:
        with torch.no_grad():
            return tempered(guide_ND @ guide_ND.t(), effective, kept_N)
    return inter(guide_ND, guide_ND, temperature, kept_N)


def tempered(similar_NN: Tensor, effective: float, kept_N: Tensor | None = None) -> Tensor:
    """``softmax_j(s_ij / τ)`` at the τ where rows have so many effective targets.

    That is their perplexity exp(H), as in SNE (Hinton and Roweis, NIPS 2002), with one τ for the
    batch and the mean entropy H over rows that take part. H grows with τ, which bisection
    finds between 1e-4 and 1e4: of more targets than rows all are equal, of fewer than the ties of
    the largest similarity those ties are.

    Args:
        similar_NN: similarities.
        effective: 1 or more.
        kept_N: bool, the rows that take part; None: all.

    Returns:
        (N, N), rows sum to one.
    """
    low, high = similar_NN.new_tensor(math.log(1e-4)), similar_NN.new_tensor(math.log(1e4))
    for _ in range(_BISECTIONS):  # no value is looked at: a GPU would have to be waited for
        middle = (low + high) / 2
        log_p_NN = torch.log_softmax(among(similar_NN / middle.exp(), kept_N), dim=1)
        entropy_N = -(log_p_NN.exp() * log_p_NN.clamp_min(-1e9)).sum(1)
        if kept_N is None:
            entropy = entropy_N.mean()
        else:
            entropy = entropy_N.where(kept_N, 0).sum() / kept_N.sum().clamp_min(1)
        more = entropy < math.log(effective)
        low, high = torch.where(more, middle, low), torch.where(more, high, middle)
    return torch.softmax(among(similar_NN / ((low + high) / 2).exp(), kept_N), dim=1)


def inter(
    source_ND: Tensor, target_ND: Tensor, temperature: float, kept_N: Tensor | None = None
) -> Tensor:
    """A teacher's prediction from one modality to another: ``softmax_j(<a_i, b_j> / τ_inter)``.

    Args:
        source_ND: unit rows that ask.
        target_ND: unit rows that answer.
        temperature: τ_inter.
        kept_N: bool, the rows that take part; None: all.

    Returns:
        (N, N), rows sum to one.
    """
    with torch.no_grad():
        return torch.softmax(among(source_ND @ target_ND.t() / temperature, kept_N), dim=1)


def mix(
    alpha: float,
    beta: float,
    intra_NN: Tensor | None,
    inter_NN: Tensor | None,
    like_ND: Tensor,
) -> Tensor:
    """``T = (1 - α) I + α [(1 - β) Q_intra + β Q_inter]``.

    With one of the two absent the other takes the whole of α; with both absent T is I.

    Args:
        alpha: softening degree, 0..1.
        beta: share of Q_inter where both are given.
        intra_NN: Q_intra or None.
        inter_NN: Q_inter or None.
        like_ND: any tensor with N rows, for size, type and device.
    """
    hard_NN = torch.eye(like_ND.shape[0], dtype=like_ND.dtype, device=like_ND.device)
    if intra_NN is not None and inter_NN is not None:
        soft_NN = (1 - beta) * intra_NN + beta * inter_NN
    elif intra_NN is not None:
        soft_NN = intra_NN
    elif inter_NN is not None:
        soft_NN = inter_NN
    else:
        return hard_NN
    return (1 - alpha) * hard_NN + alpha * soft_NN
