"""Probes against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch.nn import functional

from c2vl import registry
from c2vl.probes import linear, neighbours
from c2vl.probes.feature_space import alignment, label_free_scores, rankme, uniformity
from c2vl.probes.linear import fit_chosen, fit_path, fold_accuracies, sgd_hits
from c2vl.probes.neighbours import blocks, knn_accuracy, knn_predict, nearest_mean, rank, unit
from c2vl.registry import register

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def blobs(n: int = 120, classes: int = 4, noise: float = 1.0, seed: int = 0) -> Data:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(classes, 10)) * 2
    labels = draw.integers(0, classes, n)
    features = centres[labels] + noise * draw.normal(size=(n, 10))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("known", [[0, 1, 2, 3], [0, 2], [1]])
@pytest.mark.parametrize("large", [0, 1e9])
def test_convex_probe_is_at_the_optimum(
    known: list[int], large: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of the objective is zero, also where rows have two of four classes, or one."""
    monkeypatch.setattr(linear, "LARGE", large)
    features, labels = blobs(noise=2.5)
    rows = np.isin(labels, known)
    features, labels = features[rows], labels[rows]
    *_, ours = fit_path(features, labels, classes=4, strengths=(1.0, 0.1))
    x = (torch.from_numpy(features).double() - ours.mean) / ours.scale
    weight, bias = (part.clone().requires_grad_() for part in (ours.weight, ours.bias))
    loss = functional.cross_entropy(x @ weight.T + bias, torch.from_numpy(labels))
    (loss + 0.1 / 2 * weight.square().sum() / x.shape[1]).backward()
    assert weight.grad is not None and bias.grad is not None
    assert weight.grad.abs().max() < 1e-4 and bias.grad.abs().max() < 1e-4
    assert set(ours.scores(features).argmax(1)) == set(known)
    assert len(known) == 1 or weight.abs().max() > 0.1


def test_many_rows_are_fitted_to_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correlated features of many classes: predictions of both solvers, at every strength."""
    draw = np.random.default_rng(0)
    centres = np.random.default_rng(1).normal(size=(20, 12)) * 0.7
    labels = draw.integers(0, 20, 1500)
    spread = np.linspace(1, 5, 12) ** -2.0
    features = ((centres[labels] + draw.normal(size=(1500, 12))) * spread).astype(np.float32)
    features = features @ draw.normal(size=(12, 12)).astype(np.float32)
    exact = [one.scores(features) for one in fit_path(features, labels, classes=22)]
    monkeypatch.setattr(linear, "LARGE", 0)
    large = [one.scores(features) for one in fit_path(features, labels, classes=22)]
    for one, other in zip(exact, large, strict=True):
        assert (one.argmax(1) != other.argmax(1)).mean() < 2e-3
        assert (other[:, 20:] < -100).all()


def test_strength_is_chosen_on_the_folds_alone() -> None:
    features, labels = blobs(noise=3.0)
    fold = np.arange(len(labels)) % 3
    table = fold_accuracies(features, labels, fold, classes=4)
    probe, mean = fit_chosen(features, labels, fold, classes=4)
    assert mean == pytest.approx(table.mean(0).max())
    assert table.shape[0] == 3 and table.shape[1] >= 3 and probe.weight.shape == (4, 10)


def test_a_feature_that_is_constant_among_the_fitted_ones_says_nothing() -> None:
    """A channel that fires for a test sequence alone would outvote all others a million times."""
    features, labels = blobs(300)
    fitted, scored = features[:200], features[200:]
    for constant in (0.0, 0.3):
        at = np.full((200, 1), constant, np.float32)
        at[::2] *= np.float32(1 - 1e-7)  # rounding
        other = np.abs(scored[:, :1]) / 20 + constant
        given = np.hstack([fitted, at]), labels[:200], np.hstack([scored, other]), labels[200:]
        assert sgd_hits(*given, classes=4)["last"].mean() > 0.9


def test_shuffled_labels_are_not_learnt() -> None:
    features, labels = blobs(400)
    shuffled = np.random.default_rng(0).permutation(labels)
    test, test_labels = blobs(400, seed=1)
    probe, _ = fit_chosen(features, shuffled, np.arange(400) % 4, classes=4)
    assert probe.hits(test, test_labels).mean() < 0.5
    assert sgd_hits(features, labels, test, test_labels, classes=4)["last"].mean() > 0.9


def test_knn_by_hand() -> None:
    known = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0]], np.float32)
    labels = np.array([0, 1, 1, 2])
    query = np.array([[2, 0], [0.2, 3], [-5, 0.1]], np.float32)
    assert knn_predict(known, labels, query, k=1).tolist() == [0, 1, 2]
    assert knn_predict(known, labels, query, k=99).tolist() == [1, 1, 2]
    features, classes = blobs(300)
    test, test_classes = blobs(200, seed=3)
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


def test_average_precision_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    train, query = draw.normal(size=(60, 5)), draw.normal(size=(20, 5))
    labels, wanted = draw.integers(0, 4, 60), draw.integers(0, 5, 20)
    monkeypatch.setattr(neighbours, "_COSINES", 7 * 60)  # seven queries a block
    queries = blocks(query.astype(np.float32), 60)
    found = rank(unit(train.astype(np.float32)), labels, queries, truth=wanted).precisions
    assert found.shape == (20,)
    same = np.ones((60, 2), np.float32)
    assert rank(same, labels, [same], truth=labels).precisions.max() < 0.3  # they say nothing
    scores = unit(query) @ unit(train).T
    for row, score, label in zip(found, scores, wanted, strict=True):
        relevant = labels == label
        expected = average_precision_score(relevant, score) if relevant.any() else 0.0
        assert row == pytest.approx(expected)


def test_nearest_mean_by_hand() -> None:
    support = np.array([[1, 0], [0.9, 0.2], [0, 2]], np.float32)
    query = np.array([[5, 0.1], [0.1, 0.2]], np.float32)
    assert nearest_mean(support, np.array([3, 3, 7]), query).tolist() == [3, 7]


def test_a_registered_score_is_computed() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    register("label_free_score", "rows", len)
    try:
        found = label_free_scores(rows)
    finally:
        del registry._parts["label_free_score", "rows"]
    assert found["rows"] == 2500 and 1 < found["rankme"] < 3 and found["uniformity"] < 0
