"""What the figures of protocols are: shares, but for one."""

from __future__ import annotations

MEDIAN_RANK = "median rank"
"""The one metric that is no share: tables show it as it is, not in %."""


def scale_of(metric: str) -> float:
    """Return what a figure is multiplied by where tables show it: 100 of a share, 1 of a rank."""
    return 1.0 if metric == MEDIAN_RANK else 100.0
