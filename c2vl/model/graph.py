"""The spatial graph of ST-GCN: three normalised adjacency subsets from a joint tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hop_distance(parents: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of bones between each two joints.

    Args:
        parents: parent of each joint, 0-based; a root is its own parent.

    Returns:
        (V, V) integers.

    Raises:
        ValueError: the bones do not connect all joints.
    """
    count = len(parents)
    distance = np.full((count, count), count, dtype=np.int64)
    np.fill_diagonal(distance, 0)
    for child, parent in enumerate(parents):
        if child != parent:
            distance[child, parent] = distance[parent, child] = 1
    for via in range(count):
        distance = np.minimum(distance, distance[:, via, None] + distance[None, via, :])
    if (distance >= count).any():
        raise ValueError("the bones of the joint layout do not connect all of its joints")
    return distance


def spatial_partition(parents: Sequence[int], centre: int) -> NDArray[np.float32]:
    """Return the spatial configuration partition of ST-GCN (Yan et al., AAAI 2018, section 3.3).

    Neighbours are split by their distance to the centre joint into root (equal), centripetal
    (nearer) and centrifugal (further). Columns are normalised by degree (A D^-1).

    Args:
        parents: parent of each joint, 0-based; a root is its own parent.
        centre: the joint that distances are taken to.

    Returns:
        (3, V, V); ``out[w] = sum_v x[v] A[k, v, w]`` aggregates subset k.
    """
    hops = hop_distance(parents)
    adjacent = (hops <= 1).astype(np.float64)
    normalised = adjacent / adjacent.sum(axis=0, keepdims=True)
    to_centre = hops[:, centre]
    source, target = to_centre[:, None], to_centre[None, :]
    subsets = [source == target, source > target, source < target]
    return np.stack([normalised * subset for subset in subsets]).astype(np.float32)
