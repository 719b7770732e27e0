"""k nearest neighbours and retrieval on unit features, the lineage's retrieval protocol."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from c2vl.protocols.task import Outcome, Task, pooled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NEIGHBOURS = (1, 20)


def knn(task: Task) -> list[Outcome]:
    """Accuracy by a vote among 1 and 20 neighbours, and mean average precision of retrieval."""
    found = []
    for k in NEIGHBOURS:
        rounds = []
        for one in task.rounds:
            predicted = knn_predict(*task.known(one.fit), task.rows[one.scored], k)
            rounds.append((one.scored, predicted == task.labels[one.scored]))
        found.append(pooled(f"knn{k}", "top-1", f"k={k}", rounds))
    precisions = [
        (one.scored, average_precisions(*task.known(one.fit), *task.known(one.scored)))
        for one in task.rounds
    ]
    return [*found, pooled("map", "mAP", "", precisions)]


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


def average_precisions(
    train: Floats, labels: Ints, query: Floats, query_labels: Ints, chunk: int = 1024
) -> NDArray[np.float64]:
    """Average precision of each query: the mean of the precisions at its relevant neighbours.

    All of ``train`` is ranked by cosine; relevant is what has the query's class. A query whose
    class is not there at all has precision 0.

    Args:
        train: (n, F) features.
        labels: (n,).
        query: (q, F).
        query_labels: (q,).
        chunk: queries a matrix product.

    Returns:
        (q,), 0..1.
    """
    known = torch.nn.functional.normalize(torch.from_numpy(train), dim=1)
    classes = torch.from_numpy(labels)
    rank = torch.arange(1, len(known) + 1, dtype=torch.float64)
    found = []
    parts = zip(
        torch.from_numpy(query).split(chunk),
        torch.from_numpy(query_labels).split(chunk),
        strict=True,
    )
    for rows, wanted in parts:
        likeness = torch.nn.functional.normalize(rows, dim=1) @ known.t()
        order = likeness.argsort(dim=1, descending=True, stable=True)
        relevant = (classes[order] == wanted[:, None]).double()
        precision = relevant.cumsum(1) / rank
        total = relevant.sum(1)
        found.append((precision * relevant).sum(1) / total.clamp_min(1))
    result: NDArray[np.float64] = torch.cat(found).numpy()
    return result
