"""How far a sweep could tell settings apart: against published figures and a simulation."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.choosing.final_choice import FinalChoice
from sweeps.choosing.reliability import reliability, repeated, told_apart
from sweeps.search.trial_record import TrialRecord
from tests.sweeps import synthetic

# Shrout and Fleiss, Psychological Bulletin 1979, table 2: six targets, four judges
JUDGED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_the_published_example() -> None:
    """ICC(1,1) of table 4 there; the interval as R's psych::ICC gives it."""
    found = reliability(JUDGED)
    assert found is not None and found.icc is not None
    assert found.icc == pytest.approx(0.17, abs=0.005)
    assert (found.low, found.high) == pytest.approx((-0.13, 0.72), abs=0.005)
    assert found.within**2 == pytest.approx(6.26, abs=0.005)  # WMS of table 3
    # Two of them differ at 95 % from t(18) · √6.264 · √(2/4) on
    assert found.difference(4) == pytest.approx(2.1009 * math.sqrt(6.2639 / 2), rel=1e-4)


@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=4), max_size=6),
    st.integers(-50, 50),
    st.sampled_from([-4, 0.5, 8]),
)
def test_units_do_not_matter(groups: list[list[float]], shift: int, scale: float) -> None:
    found = reliability(groups)
    other = reliability([[scale * value + shift for value in group] for group in groups])
    assert (found is None) == (other is None) == all(len(group) < 2 for group in groups)
    if found is None or other is None:
        return
    assert other.within == pytest.approx(abs(scale) * found.within)
    assert found.freedom == sum(len(group) - 1 for group in groups)
    assert (found.icc is None) == (other.icc is None)
    if found.icc is not None and other.icc is not None:
        assert (found.icc, found.low, found.high) == pytest.approx(
            (other.icc, other.low, other.high), abs=1e-9
        )
        assert found.low <= found.icc <= found.high or found.within == 0


def test_the_interval_holds_what_it_promises() -> None:
    """95 % of intervals hold a correlation of 0.5; 5 % of equal settings look told apart."""
    random, held, called = np.random.default_rng(0), 0, 0
    for _ in range(400):
        values = random.normal(size=(8, 1)) + random.normal(size=(8, 3))
        found = reliability(values.tolist())
        assert found is not None
        held += found.low <= 0.5 <= found.high
        called += abs(random.normal(0, math.sqrt(2 / 3))) > found.difference(3)
    assert 0.92 < held / 400 < 0.98
    assert 0.02 < called / 400 < 0.08


def test_what_is_told_of_a_sweep(tmp_path: Path) -> None:
    """Finalists without the value that they were chosen for; trials that differ in their seed."""
    spec = synthetic.sweep(tmp_path, synthetic.NUMERIC, 4)
    trials = [
        TrialRecord(number, "complete", {"optim.lr": 0.1 * number}, [0.9]) for number in range(4)
    ]
    (unknown,) = told_apart(spec, trials, None)
    assert "is not known" in unknown and "final.seeds=[0,1,2]" in unknown
    values = {"1": [0.9, 0.80, 0.82], "3": [0.9, 0.70, 0.74]}
    final = FinalChoice("synthetic", "", "knn_val", 1, {}, "", "", {}, values)
    (told,) = told_apart(spec, trials, final)
    apart = 100 * 4.3027 * math.sqrt((0.0002 + 0.0008) / 2)
    assert f"apart by {apart * math.sqrt(2 / 3):.1f} points of knn_val with 3 seeds each" in told
    assert f"by {apart * math.sqrt(2):.1f} points with one seed each" in told
    icc = reliability([[0.80, 0.82], [0.70, 0.74]])
    assert icc is not None and f"over 2 settings with two seeds or more: {icc.icc:.2f}" in told
    (one,) = told_apart(spec, trials, FinalChoice("", "", "", 1, {}, "", "", {}, {"1": [0.8, 0.9]}))
    assert "too few for a correlation" in one
    twice = [
        TrialRecord(place, "complete", {"optim.lr": 0.1 * (place // 2), "seed": place % 2}, [value])
        for place, value in enumerate([0.80, 0.82, 0.70, 0.74])
    ]
    within = statistics.mean([statistics.variance([0.80, 0.82]), statistics.variance([0.70, 0.74])])
    assert (
        f"{100 * 4.3027 * math.sqrt(within):.1f} points of knn_val with 2 seeds each"
        in (told_apart(spec, twice, None)[0])
    )


def test_the_same_setting_with_the_same_seed_counts_once(tmp_path: Path) -> None:
    """Of three values that one training would give there is no noise to tell."""
    spec = synthetic.sweep(tmp_path, synthetic.NUMERIC, 4)
    drawn = [{"optim.lr": 0.1}, {"optim.lr": 0.2}, {"optim.lr": 0.1}, {"optim.lr": 0.2}]
    trials = [TrialRecord(n, "complete", one, [one["optim.lr"]]) for n, one in enumerate(drawn)]
    assert "is not known" in told_apart(spec, trials, None)[0]
    values = {"1": [0.2, 0.25, 0.30]}
    final = FinalChoice("synthetic", "", "knn_val", 1, {}, "", "", {}, values)
    assert repeated(spec, trials, final) == [([0.25, 0.30], 3)]
    seeded = {"optim.lr": 0.2, "seed": 1}  # trained already, among the final ones
    assert repeated(spec, [*trials, TrialRecord(4, "complete", seeded, [0.25])], final) == [
        ([0.25, 0.30], 3)
    ]
