"""Spearman's rank correlation: of rows, and of an epoch's values with the final ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation of each row (R, n) with its like; ties share their mean rank.

    Returns:
        (R,), NaN where a row of either has one value alone.
    """
    from scipy.stats import rankdata

    x, y = (rankdata(rows, axis=1) for rows in (a, b))
    x, y = (rows - rows.mean(1, keepdims=True) for rows in (x, y))
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    found = np.full(len(x), math.nan)
    np.divide((x * y).sum(1), scale, out=found, where=scale > 0)
    return found


def rank_correlation(
    trials: Iterable[tuple[Mapping[int, float], float]], epoch: int
) -> tuple[float, int]:
    """Tell how well an epoch's values rank trials as their final ones do.

    Args:
        trials: of those that ran to their end: values by epoch, and the final one.
        epoch: where they are compared.

    Returns:
        Spearman's rank correlation, NaN where it is undefined, and the number of trials in it.
    """
    pairs = [(values[epoch], final) for values, final in trials if epoch in values]
    if len(pairs) < 2:
        return math.nan, len(pairs)
    early, late = np.array(pairs).T
    return float(spearman(early[None], late[None])[0]), len(pairs)
