"""Contrast targets: one-hot, softened by self-similarity, softened by cross-consistency.

C²VL softens noisy pairs by "intra-modal self-similarity" and "inter-modal cross-consistency"
(arXiv 2405.20606). The formulas are our reconstruction after SoftCLIP (arXiv 2303.17561), Robust
xID (arXiv 2103.15916) and Andonian et al. (arXiv 2204.04588). No gradient passes through a target.

Shapes: N sequences of all workers, D concept dimension; all features are unit rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


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


def intra(guide_ND: Tensor, temperature: float, kept_N: Tensor | None = None) -> Tensor:
    """Self-similarity of one modality: ``softmax_j(<g_i, g_j> / τ_intra)``.

    Args:
        guide_ND: unit rows.
        temperature: τ_intra.
        kept_N: bool, the rows that take part; None: all.

    Returns:
        (N, N), rows sum to one.
    """
    return inter(guide_ND, guide_ND, temperature, kept_N)


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
