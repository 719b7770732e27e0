"""Clustering without labels against the classes."""

from __future__ import annotations

import numpy as np

from c2vl.probes.clusters import cluster
from c2vl.protocols.task import Outcome, Task


def clustering(task: Task) -> list[Outcome]:
    """Cluster the scored part alone into as many clusters as there are classes: NMI and ARI.

    On validation that is all of training at once: nothing is fitted with labels, so there is
    nothing to hold out.
    """
    positions = np.concatenate([one.scored for one in task.folds])
    found = cluster(task.rows[positions], task.classes, seed=task.seed)
    labels = task.labels[positions].astype(np.float64)
    return [
        Outcome(metric.lower(), metric, "k-means", positions, labels, clusters=found)
        for metric in ("NMI", "ARI")
    ]
