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


def interval(values: Sequence[float], form: str) -> str:
    """The same interval in words, each end as ``form`` says; empty with fewer than two values."""
    half = half_width(values)
    if half is None:
        return ""
    mean = statistics.mean(values)
    return f"{mean - half:{form}} to {mean + half:{form}}"
