"""Multinomial logistic regression of many rows and classes: preconditioned L-BFGS.

Features of a network are strongly correlated, often nearly collinear, and a solver that does not
know it takes hundreds of steps. L-BFGS works here in the basis of the features' principal
directions, each scaled for each class by the diagonal of the Hessian where it starts. scikit-learn
has no way to say so, since the penalty is then no longer the same in all directions. Directions
without variance are left out; a random ST-GCN has them in a third of its 256.

Shapes: n rows, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 8192  # rows per matrix product: scores of a block stay in the processor's cache
_MEMORY = 10  # steps that L-BFGS remembers
_NOTHING = 1e-4
"""A direction is left out whose share of any score is below this: its variance × F / strength."""
_FLOOR = 1e-4  # of a bias's curvature, which no penalty keeps from 0
_TOLERANCE = 1e-5  # of the largest component of the gradient, in the scaled basis
CLOSE, ROUGH = 1e-7, 1e-6
"""Relative decrease of the loss that ends a fit. With 1e-9 a random ST-GCN's features of 1,800
sequences of 120 classes take a third more time, for 2 of 2,800 predictions. ROUGH takes half of
CLOSE's time; of a random ST-GCN's features of 3,000 it changes at most 3 of 1,000 predictions."""


def solutions(
    rows_nF: Tensor, labels_n: Tensor, classes: int, strengths: Sequence[float], ends_at: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Minimise ``mean CE + strength/2 · ||W||² / F`` for each strength, from the one before.

    Scores are computed in float32, sums and steps in float64.

    Args:
        rows_nF: standardised features, float64.
        labels_n: integers in 0..K-1.
        classes: K, of which each has a row.
        strengths: descending.
        ends_at: :data:`CLOSE` or :data:`ROUGH`.

    Yields:
        Weight (K, F) and bias (K,), float64.
    """
    from scipy.optimize import minimize

    count, size = rows_nF.shape
    values, directions = torch.linalg.eigh(rows_nF.t() @ rows_nF / count)
    directions = directions[:, values > _NOTHING * min(strengths) / size]
    rotated = (rows_nF @ directions).float()
    kept = rotated.shape[1]
    weight, bias = rows_nF.new_zeros(classes, kept), rows_nF.new_zeros(classes)
    for strength in strengths:
        curvature = _diagonal(rotated, weight, bias)
        curvature[:, :-1] += strength / size
        curvature[:, -1].clamp_min_(_FLOOR)
        scale = curvature.rsqrt()

        def loss(flat: NDArray[np.float64], strength: float = strength, scale: Tensor = scale):  # type: ignore[no-untyped-def]
            both = torch.from_numpy(flat).to(scale.device).view(classes, kept + 1) * scale
            total, gradient = _cross_entropy(rotated, labels_n, both[:, :-1], both[:, -1])
            gradient[:, :-1] += strength / size * both[:, :-1]
            total += strength / size / 2 * float(both[:, :-1].square().sum())
            return total, (gradient * scale).flatten().cpu().numpy()

        start = (torch.cat([weight, bias[:, None]], 1) / scale).flatten().cpu().numpy()
        options = {"maxcor": _MEMORY, "maxiter": 1000, "gtol": _TOLERANCE, "ftol": ends_at}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        both = torch.from_numpy(found.x).to(scale.device).view(classes, kept + 1) * scale
        weight, bias = both[:, :-1], both[:, -1].clone()
        yield weight @ directions.t(), bias


def _diagonal(rows_nF: Tensor, weight_KF: Tensor, bias_K: Tensor) -> Tensor:
    """Return the diagonal of the Hessian of the mean cross-entropy, (K, F + 1), the bias's last."""
    found = weight_KF.new_zeros(len(bias_K), rows_nF.shape[1] + 1)
    for rows in rows_nF.split(_BLOCK):
        likely = torch.addmm(bias_K.float(), rows, weight_KF.t().float()).softmax(1)
        spread = likely * (1 - likely)
        found[:, :-1] += (spread.t() @ rows.square()).double()
        found[:, -1] += spread.sum(0).double()
    return found / len(rows_nF)


def _cross_entropy(
    rows_nF: Tensor, labels_n: Tensor, weight_KF: Tensor, bias_K: Tensor
) -> tuple[float, Tensor]:
    """Return the mean cross-entropy and its gradient (K, F + 1), the bias's last."""
    total, gradient = 0.0, weight_KF.new_zeros(len(bias_K), rows_nF.shape[1] + 1)
    weight_FK, bias = weight_KF.t().float(), bias_K.float()
    for rows, truth in zip(rows_nF.split(_BLOCK), labels_n.split(_BLOCK), strict=True):
        apart = torch.addmm(bias, rows, weight_FK).log_softmax(1)
        own = apart.gather(1, truth[:, None])
        total -= float(own.double().sum())
        apart.exp_().scatter_add_(1, truth[:, None], -torch.ones_like(own))
        gradient[:, :-1] += (apart.t() @ rows).double()
        gradient[:, -1] += apart.sum(0).double()
    return total / len(rows_nF), gradient / len(rows_nF)
