"""The softening schedule: how soft the contrast targets are, over training."""

from __future__ import annotations

import math

from c2vl.config.experiment import ScheduleSettings


def softening(settings: ScheduleSettings, progress: float) -> float:
    """Return α, the degree by which one-hot targets are softened.

    The paper says that the degree is controlled progressively; the shapes are ours. All move from
    ``start`` to ``end`` over the first ``span`` of training and then stay:

    * constant: ``end`` all along;
    * linear, cosine (half a period) and exponential (slow first: ``(e^{5u} - 1) / (e^5 - 1)``);
    * step: ``start`` until half of ``span``, then ``end``; by then linear and cosine are half way.

    Args:
        settings: shape, start, end and span.
        progress: share of training that is done, 0..1.

    Raises:
        ValueError: progress outside 0..1.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must lie in 0..1, got {progress}")
    if settings.shape == "constant":
        return settings.end
    if settings.shape == "step":
        return settings.end if progress >= settings.span / 2 else settings.start
    moved = min(progress / settings.span, 1.0)
    if settings.shape == "cosine":
        moved = (1 - math.cos(math.pi * moved)) / 2
    elif settings.shape == "exponential":
        moved = math.expm1(5 * moved) / math.expm1(5)
    return settings.start + (settings.end - settings.start) * moved
