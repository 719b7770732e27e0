"""Validation scores all of a small training set, and a sample of a large one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from c2vl.training import validation
from c2vl.training.batches import TrainingSet
from c2vl.training.learner import Learner


def _validated(source: TrainingSet, learner: Learner) -> dict[str, float]:
    features = validation.embedded(source, learner.evaluated)
    return validation.validate(source, learner.evaluated, features)


def test_a_large_set_is_scored_by_a_sample(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = TrainingSet(experiment())
    assert validation.scored_rows(source).equal(torch.arange(len(source.labels)))
    learner = Learner(
        source.experiment, source.layout, {"language": 24}, 13, 1, torch.device("cpu")
    )
    whole = _validated(source, learner)
    monkeypatch.setattr(validation, "SCORED", 40)
    rows = validation.scored_rows(source)
    assert len(rows) == 40 and rows.equal(rows.unique()) and rows.max() > 45
    assert rows.equal(validation.scored_rows(source))
    assert not rows.equal(validation.scored_rows(TrainingSet(experiment(seed=1))))
    asked = []
    clips = source.clips
    monkeypatch.setattr(source, "clips", lambda rows: asked.extend(rows.tolist()) or clips(rows))
    sampled = _validated(source, learner)
    assert asked == rows.tolist() and sampled.keys() == whole.keys()
    assert all(abs(sampled[name] - whole[name]) < 0.5 for name in ("knn_val", "linear_val"))
