"""Rank correlation and regret of scores that need no labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from sweeps.search.label_free_ranking import FEWEST, agreements
from sweeps.search.rank_correlation import spearman


def test_rank_correlation_is_scipys_ties_and_all() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.integers(5, size=(2, 20, 12)).astype(float)
    wanted = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert spearman(a, b) == pytest.approx(wanted)
    assert np.isnan(spearman(np.ones((1, 4)), b[:1, :4])).all()


def test_a_score_that_ranks_alike_costs_nothing_and_one_that_ranks_against_costs_all() -> None:
    trials = {
        number: {"linear_val": 0.1 * number, "rankme": number**3, "loss": number}
        for number in range(1, 9)
    }
    loss, rankme = agreements(trials)
    assert (rankme.score, rankme.labelled, rankme.trials) == ("rankme", "linear_val", 8)
    assert rankme.correlation == pytest.approx(1)
    assert rankme.row()["95 % interval"] == "–"  # each draw of trials is in order too
    assert (rankme.chosen, rankme.regret) == (8, 0)
    assert loss.correlation == pytest.approx(-1)  # it is lowest where the accuracy is lowest
    assert loss.chosen == 1 and loss.regret == pytest.approx(0.7)
    assert rankme.row()["points lost"] == "0.0"
    few = dict(list(trials.items())[: FEWEST - 1])
    assert agreements(few) == []


def test_the_interval_narrows_with_trials_and_holds_the_truth() -> None:
    draw = np.random.default_rng(1)

    def made(count: int) -> dict[int, dict[str, float | None]]:
        x, noise = draw.normal(size=(2, count))
        y = x + noise
        return {i: {"knn_val": float(y[i]), "rankme": float(x[i])} for i in range(count)}

    (few,), (many,) = agreements(made(15)), agreements(made(400))
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)  # of a bivariate normal of correlation √½
    assert many.low < truth < many.high and few.low < few.correlation < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
