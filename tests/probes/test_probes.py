"""Probes against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from c2vl.probes.feature_space import alignment, rankme, uniformity
from c2vl.protocols.knn import knn_accuracy, knn_predict
from c2vl.protocols.linear import fit_chosen, fit_path, fold_accuracies, sgd_hits

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def blobs(n: int = 120, classes: int = 4, noise: float = 1.0, seed: int = 0) -> Data:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(classes, 10)) * 2
    labels = draw.integers(0, classes, n)
    features = centres[labels] + noise * draw.normal(size=(n, 10))
    return features.astype(np.float32), labels


def test_convex_probe_is_at_the_optimum_of_scikit_learn() -> None:
    features, labels = blobs(noise=2.5)
    strength = 0.1
    (ours,) = fit_path(features, labels, classes=4, strengths=(strength,))
    x = (features.astype(np.float64) - ours.mean.numpy()) / ours.scale.numpy()
    # theirs: C · Σ CE + ½ ||W||²; ours: mean CE + strength / (2F) ||W||²
    c = x.shape[1] / (strength * len(x))
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(x, labels)
    weight = ours.weight.numpy()
    np.testing.assert_allclose(
        weight - weight.mean(0), theirs.coef_ - theirs.coef_.mean(0), atol=1e-5
    )
    assert ours.accuracy(features, labels) == pytest.approx(theirs.score(x, labels))


def test_strength_is_chosen_on_the_folds_alone() -> None:
    features, labels = blobs(noise=3.0)
    fold = np.arange(len(labels)) % 3
    table = fold_accuracies(features, labels, fold, classes=4)
    probe, mean = fit_chosen(features, labels, fold, classes=4)
    assert mean == pytest.approx(table.mean(0).max())
    assert table.shape[0] == 3 and table.shape[1] >= 3 and probe.weight.shape == (4, 10)


def test_shuffled_labels_are_not_learnt() -> None:
    features, labels = blobs(400)
    shuffled = np.random.default_rng(0).permutation(labels)
    test, test_labels = blobs(400, seed=1)
    probe, _ = fit_chosen(features, shuffled, np.arange(400) % 4, classes=4)
    assert probe.accuracy(test, test_labels) < 0.5
    assert sgd_hits(features, labels, test, test_labels, classes=4)["last"].mean() > 0.9


def test_knn_by_hand() -> None:
    known = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0]], np.float32)
    labels = np.array([0, 1, 1, 2])
    query = np.array([[2, 0], [0.2, 3], [-5, 0.1]], np.float32)
    assert knn_predict(known, labels, query, k=1).tolist() == [0, 1, 2]
    assert knn_predict(known, labels, query, k=99).tolist() == [1, 1, 2]
    features, classes = blobs(300)
    test, test_classes = blobs(200, seed=3)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    nearest = (unit(test) @ unit(features).T).argmax(1)
    expected = (classes[nearest] == test_classes).mean()
    assert knn_accuracy(features, classes, test, test_classes) == pytest.approx(expected)


def test_figures_of_the_space() -> None:
    assert rankme(np.eye(6, dtype=np.float32)) == pytest.approx(6, abs=1e-3)
    assert rankme(np.ones((6, 4), np.float32)) == pytest.approx(1, abs=1e-2)
    same = torch.nn.functional.normalize(torch.ones(5, 3), dim=1)
    assert uniformity(same) == pytest.approx(0, abs=1e-6)
    assert alignment(same, same) == 0
    assert alignment(same, -same) == pytest.approx(4, abs=1e-5)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(opposite) == pytest.approx(-8, abs=1e-5)
