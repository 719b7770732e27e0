"""Scores of the feature space that need no label: alignment, uniformity, RankMe."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from c2vl.registry import parts

SAMPLE = 2000
"""Rows that scores of features are computed on, at most twice as many: pairs grow with the square
of the rows."""


def label_free_scores(features: NDArray[np.float32]) -> dict[str, float]:
    """Compute every registered score on a sample of features (n, F)."""
    sample = features[:: max(1, len(features) // SAMPLE)]
    return {part.name: float(part.load()(sample)) for part in parts("label_free_score")}


def uniformity_of_features(features: NDArray[np.float32]) -> float:
    """Return the :func:`uniformity` of features (n, F), each scaled to length 1."""
    return uniformity(functional.normalize(torch.from_numpy(features), dim=1))


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of matched unit rows (n, D) (Wang and Isola, ICML 2020, eq. 1)."""
    return float((a - b).square().sum(1).mean())


def uniformity(rows: Tensor) -> float:
    """Log of the mean Gaussian potential of unit rows (n, D), t = 2 (Wang and Isola, eq. 2)."""
    return float(torch.pdist(rows).square().mul(-2).exp().mean().log())


def rankme(features: NDArray[np.float32]) -> float:
    """Effective rank: exp of the entropy of singular values (Garrido et al., ICML 2023, eq. 1).

    Args:
        features: (n, F).

    Returns:
        Between 1 and min(n, F).
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    share = values / max(values.sum(), 1e-12) + 1e-7
    return float(np.exp(-(share * np.log(share)).sum()))
