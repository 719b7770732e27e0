"""Nearest neighbours, retrieval and nearest class means, by the cosine of features.

Shapes: n known rows, q queries, F features. No matrix of all n × q cosines is ever made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CPU = torch.device("cpu")
_COSINES = 1 << 24  # at once: 64 MiB


@dataclass(frozen=True)
class Ranking:
    """What the known rows, ranked by cosine, say of each query.

    Attributes:
        predicted: k → (q,) classes by a vote among the k nearest.
        precisions: (q,) average precisions, 0..1; empty if they were not asked for.
    """

    predicted: dict[int, Ints]
    precisions: NDArray[np.float64]


def rank(
    known: Floats,
    labels: Ints,
    queries: Iterable[Floats],
    *,
    votes: Sequence[int] = (),
    truth: Ints | None = None,
    device: torch.device = CPU,
) -> Ranking:
    """Rank known rows by cosine, for one block of queries after the other.

    A vote is weighted by similarity, so that the closer class wins a tie. The average precision of
    a query is the mean of the precisions at its relevant neighbours, the rows of its class; a query
    whose class is absent has precision 0.

    Args:
        known: (n, F) unit rows.
        labels: (n,) integers from 0.
        queries: blocks of unit rows (:func:`blocks`), q in all.
        votes: numbers of neighbours k; at most n are used.
        truth: (q,) classes of the queries, for average precisions.
        device: where cosines are computed, and sorted for votes.
    """
    classes, known_nF = torch.from_numpy(labels).to(device), torch.from_numpy(known).to(device)
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    predicted: dict[int, list[Tensor]] = {k: [] for k in votes}
    precisions, done = [np.zeros(0)], 0
    for block in queries:
        cosines = torch.from_numpy(block).to(device) @ known_nF.t()
        if votes:
            value, near = cosines.topk(min(max(votes), len(known)), dim=1)
            for k, found in predicted.items():
                tally = torch.zeros(len(block), int(labels.max()) + 1, device=device)
                # 1 + cosine is never below 0
                tally.scatter_add_(1, classes[near[:, :k]], 1 + value[:, :k])
                found.append(tally.argmax(1))
        if truth is not None:
            wanted = truth[done : done + len(block)]
            precisions.append(_average_precisions(cosines.cpu().numpy(), members, wanted))
        done += len(block)
    return Ranking(
        {k: torch.cat(found).cpu().numpy() for k, found in predicted.items()},
        np.concatenate(precisions),
    )


def _average_precisions(
    cosines_qn: Floats, members: dict[int, Ints], truth: Ints
) -> NDArray[np.float64]:
    """Return the average precision of each query, (q,).

    A row of another class that is as near as a relevant one ranks before it, so that features that
    have collapsed to a point gain nothing. Only values are sorted: a stable argsort takes 10 times
    as long.
    """
    found = np.zeros(len(truth))
    for row, (cosines_n, label) in enumerate(zip(cosines_qn, truth, strict=True)):
        if (relevant := members.get(int(label))) is None:
            continue
        own = np.sort(cosines_n[relevant])
        place = np.arange(len(own), 0, -1)  # of the nearest is 1, and stands last
        as_near = len(cosines_n) - np.searchsorted(np.sort(cosines_n), own)
        own_as_near = len(own) - np.searchsorted(own, own)
        found[row] = (place / (place + as_near - own_as_near)).mean()
    return found


def blocks(queries: Floats, known: int) -> Iterator[Floats]:
    """Yield unit rows of queries (q, F), so many that cosines with n known rows fit the memory."""
    size = min(4096, max(1, _COSINES // known))
    for start in range(0, len(queries), size):
        yield unit(queries[start : start + size])


def knn_predict(
    train: Floats, labels: Ints, query: Floats, k: int = 1, *, device: torch.device = CPU
) -> Ints:
    """Return the class of each query (q, F) by a vote among its k nearest of train (n, F), (q,)."""
    ranking = rank(unit(train), labels, blocks(query, len(train)), votes=[k], device=device)
    return ranking.predicted[k]


def knn_accuracy(
    train: Floats,
    labels: Ints,
    query: Floats,
    query_labels: Ints,
    k: int = 1,
    *,
    device: torch.device = CPU,
) -> float:
    """Return the share of queries (q, F) whose predicted class is right, 0..1."""
    return float((knn_predict(train, labels, query, k, device=device) == query_labels).mean())


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
