"""Figures of the test part that need no encoder: raw joints' neighbours, and the captions alone."""

from __future__ import annotations

import numpy as np

from c2vl.probes.neighbours import rank
from c2vl.prompts.probe import probe_table
from c2vl.prompts.table import ConceptTable
from c2vl.protocols.knn import NEIGHBOURS, joint_sides
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from c2vl.support.remote import Location


def raw_joints(
    store: Store, split_name: str, *, frames: int, centre: bool, align: bool
) -> dict[str, float]:
    """Nearest neighbours on preprocessed joints, as :func:`~c2vl.protocols.knn.raw_neighbours`.

    Args:
        store: labelled sequences.
        split_name: a split of the store's dataset.
        frames, centre, align: the preprocessing.

    Returns:
        ``knn1`` and ``knn20`` on the test part, 0..1.
    """
    parts = split(store.index, split_name)
    clips = load_clips(store, frames=frames, centre=centre, align=align)
    labels = store.index["label"].to_numpy(np.int64)
    known, queries = joint_sides(clips, parts.train, parts.test)
    found = rank(known, labels[parts.train], queries, votes=NEIGHBOURS).predicted
    truth = labels[parts.test]
    return {f"knn{k}": float((predicted == truth).mean()) for k, predicted in found.items()}


def captions(store: Store, split_name: str, table: Location) -> dict[str, float]:
    """A linear probe on the mean prompt of each sequence: what the concepts alone can tell.

    Returns:
        ``linear`` on the test part, 0..1; its penalty is chosen on training subjects.
    """
    found = probe_table(ConceptTable.open(table), store, split_name, test=True)
    assert found.test is not None
    return {"linear": found.test}
