"""k-means on unit features, and how well clusters agree with classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.probes.neighbours import unit

Ints = NDArray[np.int64]


def cluster(features: NDArray[np.float32], clusters: int, *, seed: int) -> Ints:
    """Return the cluster of each row (n,) of features (n, F): k-means, the best of 10 starts."""
    from sklearn.cluster import KMeans

    solver = KMeans(min(clusters, len(features)), n_init=10, random_state=seed)
    found: Ints = solver.fit_predict(unit(features).astype(np.float64)).astype(np.int64)
    return found


def agreement(metric: str, labels: Ints, clusters: Ints) -> float:
    """NMI (arithmetic mean of entropies) or ARI of two groupings (n,)."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    score = normalized_mutual_info_score if metric == "NMI" else adjusted_rand_score
    return float(score(labels, clusters))
