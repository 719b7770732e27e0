"""The softening schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2vl.config.experiment import ScheduleSettings
from c2vl.objective.schedule import softening

SHAPES = ("constant", "linear", "cosine", "exponential", "step")
schedules = st.builds(
    ScheduleSettings,
    shape=st.sampled_from(SHAPES),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
    span=st.floats(0.01, 1),
)


@given(schedules, st.floats(0, 1), st.floats(0, 1))
def test_between_its_ends_and_monotone(schedule: ScheduleSettings, a: float, b: float) -> None:
    low, high = sorted((schedule.start, schedule.end))
    first, second = (softening(schedule, p) for p in sorted((a, b)))
    for value in (first, second):
        assert low - 1e-12 <= value <= high + 1e-12
    direction = 1 if schedule.end >= schedule.start else -1
    assert (second - first) * direction >= -1e-12


@given(schedules)
def test_ends(schedule: ScheduleSettings) -> None:
    assert softening(schedule, 1.0) == pytest.approx(schedule.end)
    if schedule.shape != "constant":
        assert softening(schedule, 0.0) == pytest.approx(schedule.start)


@pytest.mark.parametrize(
    ("shape", "half"),
    [("constant", 0.8), ("linear", 0.5), ("cosine", 0.5), ("exponential", 0.2455), ("step", 0.8)],
)
def test_half_way(shape: str, half: float) -> None:
    schedule = ScheduleSettings(shape=shape, start=0.2, end=0.8, span=0.5)
    assert softening(schedule, 0.25) == pytest.approx(half, abs=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_softens_during_training(shape: str) -> None:
    """Also over the whole of it: one that moved at its very end would train on hard targets."""
    schedule = ScheduleSettings(shape=shape, start=0.0, end=0.8, span=1.0)
    assert softening(schedule, 0.7) > 0.1


def test_progress_outside_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        softening(ScheduleSettings(), 1.2)
