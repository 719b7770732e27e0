"""Confidence intervals of a mean over a few seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean, by Student's t; None with fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def interval(values: Sequence[float], form: str, top: float = math.inf) -> str:
    """The same interval in words, each end as ``form`` says; empty with fewer than two values.

    Args:
        top: the highest value that there can be, of a figure that cannot be below 0.
    """
    half = half_width(values)
    if half is None:
        return ""
    mean = statistics.mean(values)
    low, high = mean - half, mean + half
    if (
        top < math.inf
    ):  # of few seeds the interval is wide; a share is no less than 0, no more than 1
        low, high = max(low, 0.0), min(high, top)
    return f"{low:{form}} to {high:{form}}"
