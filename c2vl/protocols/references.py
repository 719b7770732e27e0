"""What needs no encoder and stands beside one: raw joints' neighbours, and the captions alone.

Both read the test part, so they are for the final table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2vl.prompts.probe import probe_table
from c2vl.prompts.table import ConceptTable
from c2vl.protocols.knn import average_precisions, knn_accuracy, knn_predict
from c2vl.protocols.task import Floats, Ints, Outcome, Task, pooled
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store


def joint_rows(store: Store, *, frames: int, centre: bool, align: bool) -> Floats:
    """All coordinates of a preprocessed sequence in one row, (N, M·T·V·3).

    Args:
        store: sequences.
        frames, centre, align: the preprocessing (:func:`c2vl.skeletons.preprocess.preprocess`).
    """
    clips = load_clips(store, frames=frames, centre=centre, align=align)
    return np.asarray(clips.x, dtype=np.float32).reshape(len(store), -1)


def raw_neighbours(task: Task) -> list[Outcome]:
    """Neighbours of raw joints, about the training mean, so that a cosine tells postures apart."""
    rows = joint_rows(task.store, **task.encoder.card["preprocessing"])
    found = []
    sides: list[tuple[Ints, Floats, Ints, Floats, Ints]] = []
    for one in task.rounds:
        about = rows - rows[one.fit].mean(0)
        labels = task.labels
        sides.append(
            (one.scored, about[one.fit], labels[one.fit], about[one.scored], labels[one.scored])
        )
    for k in (1, 20):
        rounds = [(at, knn_predict(x, y, query, k) == truth) for at, x, y, query, truth in sides]
        found.append(pooled(f"knn{k}", "top-1", f"k={k}", rounds))
    precisions = [(at, average_precisions(x, y, query, truth)) for at, x, y, query, truth in sides]
    return [*found, pooled("map", "mAP", "", precisions)]


def raw_joints(
    store: Store, split_name: str, *, frames: int, centre: bool, align: bool
) -> dict[str, float]:
    """Nearest neighbours on preprocessed joints, as :func:`raw_neighbours`.

    Args:
        store: labelled sequences.
        split_name: a split of the store's dataset.
        frames, centre, align: the preprocessing.

    Returns:
        ``knn1`` and ``knn20`` on the test part, 0..1.
    """
    parts = split(store.index, split_name)
    rows = joint_rows(store, frames=frames, centre=centre, align=align)
    rows = rows - rows[parts.train].mean(0)
    labels = store.index["label"].to_numpy(np.int64)
    known, query = (rows[parts.train], labels[parts.train]), (rows[parts.test], labels[parts.test])
    return {f"knn{k}": knn_accuracy(*known, *query, k=k) for k in (1, 20)}


def captions(store: Store, split_name: str, table: Path) -> dict[str, float]:
    """A linear probe on the mean prompt of each sequence: what the concepts alone can tell.

    Returns:
        ``linear`` on the test part, 0..1; its penalty is chosen on training subjects.
    """
    found = probe_table(ConceptTable.open(table), store, split_name, test=True)
    assert found.test is not None
    return {"linear": found.test}
