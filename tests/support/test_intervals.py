"""Every interval over seeds or trials holds its figure, within what the figure can be."""

from __future__ import annotations

import statistics

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.support.intervals import ends, interval
from sweeps.search.label_free_ranking import agreements

shares = st.floats(0, 1, allow_subnormal=False)


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=6))
def test_means_and_paired_differences(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    low, high = ends(ours, 1.0) or (1.0, 0.0)
    assert 0 <= low <= statistics.mean(ours) + 1e-9 and statistics.mean(ours) - 1e-9 <= high <= 1
    apart = [100 * (a - b) for a, b in pairs]
    low, high = ends(apart) or (1.0, 0.0)
    assert low - 1e-9 <= statistics.mean(apart) <= high + 1e-9
    assert ends(theirs[:1]) is None and interval(theirs[:1], ".1f") == ""


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**16), st.integers(4, 20), st.booleans())
def test_rank_correlations(seed: int, trials: int, tied: bool) -> None:
    draw = np.random.default_rng(seed)
    score = draw.normal(size=trials)
    accuracy = draw.choice([0, 0.5, 0.95]) * score + 0.3 * draw.normal(size=trials)
    accuracy = np.round(2 * accuracy) if tied else accuracy
    rows = {
        number: {"loss": a, "linear_val": b}
        for number, (a, b) in enumerate(zip(score, accuracy, strict=True))
    }
    for one in agreements(rows):
        assert not one.low > one.correlation and not one.high < one.correlation  # nan: undefined
        assert one.trials == trials == int(one.row()["trials"])
        assert one.row()["95 % interval"] == "–" or one.low < one.high
