"""k nearest neighbours on unit features, the lineage's retrieval protocol."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def knn_predict(train: Floats, labels: Ints, query: Floats, k: int = 1, chunk: int = 4096) -> Ints:
    """Return the class of each query by a vote among its k nearest, cosine distance.

    Votes are weighted by similarity, so that ties between classes are broken by closeness.

    Args:
        train: (n, F) features.
        labels: (n,) integers from 0.
        query: (q, F) features.
        k: neighbours; at most n are used.
        chunk: queries a matrix product.

    Returns:
        (q,) integers.
    """
    known = torch.nn.functional.normalize(torch.from_numpy(train), dim=1)
    classes = torch.from_numpy(labels)
    k = min(k, len(known))
    predicted = []
    for part in torch.from_numpy(query).split(chunk):
        likeness = torch.nn.functional.normalize(part, dim=1) @ known.t()
        value, near = likeness.topk(k, dim=1)
        votes = torch.zeros(len(part), int(classes.max()) + 1)
        votes.scatter_add_(1, classes[near], 1 + value)  # cosines, so never below 0
        predicted.append(votes.argmax(1))
    result: Ints = torch.cat(predicted).numpy()
    return result


def knn_accuracy(
    train: Floats, labels: Ints, query: Floats, query_labels: Ints, k: int = 1
) -> float:
    """Share of queries whose predicted class is right, 0..1."""
    return float((knn_predict(train, labels, query, k) == query_labels).mean())
