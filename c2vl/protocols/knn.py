"""Nearest neighbours and retrieval on features, and the same on raw joints beside them."""

from __future__ import annotations

import numpy as np

from c2vl.probes.neighbours import average_precisions, knn_predict
from c2vl.protocols.task import Floats, Fold, Outcome, Task, pooled
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store

NEIGHBOURS = (1, 20)


def knn(task: Task) -> list[Outcome]:
    """Accuracy by a vote among 1 and 20 neighbours, and mean average precision of retrieval."""
    return _neighbours(task, [(one, task.rows) for one in task.folds])


def raw_neighbours(task: Task) -> list[Outcome]:
    """Neighbours of raw joints, about the training mean, so that a cosine tells postures apart."""
    rows = joint_rows(task.store, **task.encoder.card["preprocessing"])
    return _neighbours(task, [(one, rows - rows[one.fit].mean(0)) for one in task.folds])


def _neighbours(task: Task, folds: list[tuple[Fold, Floats]]) -> list[Outcome]:
    sides = [
        (one.scored, rows[one.fit], task.labels[one.fit], rows[one.scored], task.labels[one.scored])
        for one, rows in folds
    ]
    found = []
    for k in NEIGHBOURS:
        hits = [(at, knn_predict(x, y, query, k) == truth) for at, x, y, query, truth in sides]
        found.append(pooled(f"knn{k}", "top-1", f"k={k}", hits))
    precisions = [(at, average_precisions(x, y, query, truth)) for at, x, y, query, truth in sides]
    return [*found, pooled("map", "mAP", "", precisions)]


def joint_rows(store: Store, *, frames: int, centre: bool, align: bool) -> Floats:
    """All coordinates of a preprocessed sequence in one row, (N, M·T·V·3).

    Args:
        store: sequences.
        frames, centre, align: the preprocessing (:func:`c2vl.skeletons.preprocess.preprocess`).
    """
    clips = load_clips(store, frames=frames, centre=centre, align=align)
    return clips.dense(np.arange(len(store))).reshape(len(store), -1)
