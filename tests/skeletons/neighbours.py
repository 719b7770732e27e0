"""The trivial baseline: the nearest training clip, joint by joint."""

from __future__ import annotations

import numpy as np

from c2vl.skeletons.splits import Split


def nearest_neighbour(x: np.ndarray, labels: np.ndarray, parts: Split) -> float:
    """Return the accuracy on the test part of 1-NN by Euclidean distance."""
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    train, test = flat[parts.train], flat[parts.test]
    distance = (test**2).sum(1)[:, None] + (train**2).sum(1) - 2 * test @ train.T
    nearest = labels[parts.train][distance.argmin(axis=1)]
    return float((nearest == labels[parts.test]).mean())
