"""The softening schedule: how soft the contrast targets are, over training."""

from __future__ import annotations

import math

from c2vl.config.experiment import ScheduleSettings
from c2vl.registry import find


def softening(settings: ScheduleSettings, progress: float) -> float:
    """Return α, the degree by which one-hot targets are softened.

    The paper says that the degree is controlled progressively; the shapes are ours. Each moves over
    the first ``span`` of training and then stays.

    Args:
        settings: shape, start, end and span.
        progress: share of training that is done, 0..1.

    Raises:
        ValueError: progress outside 0..1.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must lie in 0..1, got {progress}")
    shape = find("schedule", settings.shape).load()
    return float(shape(settings, min(progress / settings.span, 1.0)))


def constant(settings: ScheduleSettings, moved: float) -> float:
    """Return ``end`` throughout."""
    return settings.end


def step(settings: ScheduleSettings, moved: float) -> float:
    """``start`` for the first half of the move, then ``end``."""
    return settings.end if moved >= 0.5 else settings.start


def linear(settings: ScheduleSettings, moved: float) -> float:
    """A straight line from ``start`` to ``end``."""
    return settings.start + (settings.end - settings.start) * moved


def cosine(settings: ScheduleSettings, moved: float) -> float:
    """Follow half a period of a cosine; it reaches the middle value half way."""
    return linear(settings, (1 - math.cos(math.pi * moved)) / 2)


def exponential(settings: ScheduleSettings, moved: float) -> float:
    """Slow first: ``(e^{5u} - 1) / (e^5 - 1)``."""
    return linear(settings, math.expm1(5 * moved) / math.expm1(5))
