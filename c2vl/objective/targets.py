"""Contrast targets: one-hot, softened by self-similarity, softened by cross-consistency.

C²VL softens noisy pairs by "intra-modal self-similarity" and "inter-modal cross-consistency"
(arXiv 2405.20606). The formulas are our reconstruction after SoftCLIP (arXiv 2303.17561), Robust
xID (arXiv 2103.15916) and Andonian et al. (arXiv 2204.04588). No gradient passes through a target.

N is the global batch, D the concept dimension; all features are unit rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def intra(guide: Tensor, temperature: float) -> Tensor:
    """Self-similarity of one modality: ``softmax_j(<g_i, g_j> / τ_intra)``.

    Args:
        guide: (N, D) unit rows.
        temperature: τ_intra.

    Returns:
        (N, N), rows sum to one.
    """
    with torch.no_grad():
        return torch.softmax(guide @ guide.t() / temperature, dim=1)


def inter(source: Tensor, target: Tensor, temperature: float) -> Tensor:
    """A teacher's prediction from one modality to another: ``softmax_j(<a_i, b_j> / τ_inter)``.

    Args:
        source: (N, D) unit rows that ask.
        target: (N, D) unit rows that answer.
        temperature: τ_inter.

    Returns:
        (N, N), rows sum to one.
    """
    with torch.no_grad():
        return torch.softmax(source @ target.t() / temperature, dim=1)


def mix(
    alpha: float, beta: float, q_intra: Tensor | None, q_inter: Tensor | None, like: Tensor
) -> Tensor:
    """``T = (1 - α) I + α [(1 - β) Q_intra + β Q_inter]``.

    With one of the two absent the other takes the whole of α; with both absent T is I.

    Args:
        alpha: softening degree, 0..1.
        beta: share of ``q_inter`` where both are given.
        q_intra: (N, N) or None.
        q_inter: (N, N) or None.
        like: any tensor with N rows, for size, type and device.
    """
    hard = torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
    if q_intra is not None and q_inter is not None:
        soft = (1 - beta) * q_intra + beta * q_inter
    elif q_intra is not None:
        soft = q_intra
    elif q_inter is not None:
        soft = q_inter
    else:
        return hard
    return (1 - alpha) * hard + alpha * soft
