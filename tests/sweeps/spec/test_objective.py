"""What a sweep optimises: values of trainings, and who is ahead."""

from __future__ import annotations

import math

from sweeps.spec.objective import Objective, objective_values, ranked

LOSS = Objective(metric="loss", direction="minimize", last=2)
KNN = Objective(metric="knn_val")
ROWS = [
    {"epoch": 3, "loss": 1.0},
    {"epoch": 1, "loss": 9.0, "knn_val": 0.5},
    {"epoch": 2, "loss": math.nan},
    {"epoch": 3, "loss": 2.0},  # an epoch that was trained again
]


def test_a_value_is_the_mean_of_the_last_finite_figures() -> None:
    assert objective_values([LOSS, KNN], ROWS) == [(9.0 + 2.0) / 2, 0.5]
    assert objective_values([LOSS, Objective(metric="rankme")], ROWS) is None


def test_the_direction_decides_who_is_better() -> None:
    assert LOSS.better(1.0, 2.0) and not KNN.better(1.0, 2.0)
    assert LOSS.better(1.0, None) and not LOSS.better(1.0, 1.0)


def test_trials_are_ranked_by_the_first_objective_and_of_several_the_front_alone() -> None:
    assert ranked([LOSS], {2: [1.0], 0: [3.0], 1: [1.0]}) == [1, 2, 0]
    values = {0: [1.0, 0.2], 1: [2.0, 0.9], 2: [2.0, 0.1], 3: [1.0, 0.2]}
    assert ranked([LOSS, KNN], values) == [0, 3, 1]  # 2 is dominated, equals are not
