"""Clustering without labels: k-means on unit features against the classes, NMI and ARI."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.protocols.task import Outcome, Task

Ints = NDArray[np.int64]


def clustering(task: Task) -> list[Outcome]:
    """Cluster the scored part alone into as many groups as there are classes.

    On validation that is all of training at once: nothing is fitted with labels, so there is
    nothing to hold out.
    """
    from sklearn.cluster import KMeans

    positions = np.concatenate([one.scored for one in task.rounds])
    rows = task.rows[positions]
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    clusters = min(task.classes, len(unit))
    solver = KMeans(clusters, n_init=10, random_state=task.seed)
    assigned: Ints = solver.fit_predict(unit.astype(np.float64)).astype(np.int64)
    truth = task.labels[positions].astype(np.float64)
    return [
        Outcome("nmi", "NMI", "k-means", positions, truth, whole=assigned),
        Outcome("ari", "ARI", "k-means", positions, truth, whole=assigned),
    ]


def agreement(metric: str, labels: Ints, assigned: Ints) -> float:
    """NMI (arithmetic mean of entropies) or ARI of two groupings (n,)."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    score = normalized_mutual_info_score if metric == "NMI" else adjusted_rand_score
    return float(score(labels, assigned))
