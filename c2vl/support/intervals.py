"""Confidence intervals of a mean over a few seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def ends(values: Sequence[float], top: float = math.inf) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean, by Student's t; None with fewer than two values.

    Args:
        top: the highest value that there can be, of a figure that cannot be below 0: of few seeds
            the interval is wide, and a share is no less than 0 and no more than 1.
    """
    if len(values) < 2:
        return None
    mean = statistics.mean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    if top < math.inf:
        return max(mean - half, 0.0), min(mean + half, top)
    return mean - half, mean + half


def t_quantile(freedom: int) -> float:
    """Return Student's t that 97.5 % lie below."""
    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    return float(stdtrit(freedom, 0.975))


def interval(values: Sequence[float], form: str, top: float = math.inf) -> str:
    """Return the same interval in words, each end as ``form`` says; empty where there is none."""
    found = ends(values, top)
    return "" if found is None else f"{found[0]:{form}} to {found[1]:{form}}"
