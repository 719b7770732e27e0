"""Nearest neighbours, retrieval and nearest class means, by the cosine of features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def _cosines(train: Floats, query: Floats, chunk: int) -> Iterator[Tensor]:
    """Yield cosines (chunk, n) of a chunk of queries with all of ``train``."""
    known = functional.normalize(torch.from_numpy(train), dim=1)
    for rows in torch.from_numpy(query).split(chunk):
        yield functional.normalize(rows, dim=1) @ known.t()


def knn_predict(train: Floats, labels: Ints, query: Floats, k: int = 1, chunk: int = 4096) -> Ints:
    """Return the class of each query by a vote among its k nearest neighbours.

    Each vote is weighted by similarity, so that the closer class wins a tie.

    Args:
        train: (n, F) features.
        labels: (n,) integers from 0.
        query: (q, F) features.
        k: neighbours; at most n are used.
        chunk: queries per matrix product.

    Returns:
        (q,) integers.
    """
    classes = torch.from_numpy(labels)
    predicted = []
    for cosines in _cosines(train, query, chunk):
        value, near = cosines.topk(min(k, len(train)), dim=1)
        votes = torch.zeros(len(cosines), int(classes.max()) + 1)
        votes.scatter_add_(1, classes[near], 1 + value)  # 1 + cosine is never below 0
        predicted.append(votes.argmax(1))
    result: Ints = torch.cat(predicted).numpy()
    return result


def knn_accuracy(
    train: Floats, labels: Ints, query: Floats, query_labels: Ints, k: int = 1
) -> float:
    """Return the share of queries (q, F) whose predicted class is right, 0..1."""
    return float((knn_predict(train, labels, query, k) == query_labels).mean())


def average_precisions(
    train: Floats, labels: Ints, query: Floats, query_labels: Ints, chunk: int = 1024
) -> NDArray[np.float64]:
    """Average precision of each query: the mean of the precisions at its relevant neighbours.

    All of ``train`` is ranked by cosine; the rows of the query's class are relevant. A query whose
    class is absent from ``train`` has precision 0.

    Args:
        train: (n, F) features.
        labels: (n,).
        query: (q, F).
        query_labels: (q,).
        chunk: queries per matrix product.

    Returns:
        (q,), 0..1.
    """
    classes = torch.from_numpy(labels)
    rank = torch.arange(1, len(train) + 1, dtype=torch.float64)
    found = []
    wanted = torch.from_numpy(query_labels).split(chunk)
    for cosines, truth in zip(_cosines(train, query, chunk), wanted, strict=True):
        order = cosines.argsort(dim=1, descending=True, stable=True)
        relevant = (classes[order] == truth[:, None]).double()
        precision = relevant.cumsum(1) / rank
        found.append((precision * relevant).sum(1) / relevant.sum(1).clamp_min(1))
    result: NDArray[np.float64] = torch.cat(found).numpy()
    return result


def nearest_mean(support: Floats, labels: Ints, query: Floats) -> Ints:
    """Return the class whose mean of unit features is nearest, (q,) (Snell et al., 2017, eq. 1)."""
    classes = np.unique(labels)
    rows = unit(support)
    means = unit(np.stack([rows[labels == label].mean(0) for label in classes]))
    result: Ints = classes[(query @ means.T).argmax(1)]
    return result


def unit(rows: Floats) -> Floats:
    """Scale rows (n, F) to length 1."""
    result: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return result
