"""Nearest neighbours and retrieval on features, and the same on raw joints beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from c2vl.probes.neighbours import blocks, rank, unit
from c2vl.protocols.task import Floats, Fold, Ints, Outcome, Task, pooled
from c2vl.skeletons.clips import Clips, load_clips
from c2vl.support.progress import progress

NEIGHBOURS = (1, 20)
_READ = 2048  # sequences whose joints are read at a time

Sides = tuple[Floats, Iterator[Floats]]
"""Unit rows to search, and blocks of unit rows to search for."""


def knn(task: Task) -> list[Outcome]:
    """Accuracy by a vote among 1 and 20 neighbours, and mean average precision of retrieval."""

    def sides(one: Fold) -> Sides:
        return unit(task.rows[one.fit]), blocks(task.rows[one.scored], len(one.fit))

    return _neighbours(task, sides)


def raw_neighbours(task: Task) -> list[Outcome]:
    """Neighbours of raw joints, about the training mean, so that a cosine tells postures apart."""
    clips = load_clips(task.store, **task.encoder.card["preprocessing"])
    return _neighbours(task, lambda one: joint_sides(clips, one.fit, one.scored))


def joint_sides(clips: Clips, fit: Ints, scored: Ints) -> Sides:
    """Return all coordinates of sequences, in one row each, about the mean of those to fit on.

    Only the rows of ``fit`` are in memory together.

    Args:
        clips: preprocessed sequences.
        fit, scored: (n,) and (q,) positions in them.
    """

    def read(positions: Ints) -> Floats:
        return clips.dense(positions).reshape(len(positions), -1)

    known = read(fit)
    mean = known.mean(0)
    for start in range(0, len(known), _READ):
        known[start : start + _READ] = unit(known[start : start + _READ] - mean)

    def queries() -> Iterator[Floats]:
        for start in range(0, len(scored), _READ):
            yield from blocks(read(scored[start : start + _READ]) - mean, len(fit))

    return known, queries()


def _neighbours(task: Task, sides: Callable[[Fold], Sides]) -> list[Outcome]:
    hits: dict[int, list[tuple[Ints, np.ndarray]]] = {k: [] for k in NEIGHBOURS}
    precisions = []
    total, done = sum(len(one.scored) for one in task.folds), 0
    with progress("sequences compared") as shown:

        def counted(queries: Iterator[Floats]) -> Iterator[Floats]:
            nonlocal done
            for block in queries:
                yield block
                done += len(block)
                shown(done, total)

        for one in task.folds:
            labels, truth = task.labels[one.fit], task.labels[one.scored]
            known, queries = sides(one)
            how: Any = {"votes": NEIGHBOURS, "truth": truth, "device": task.device}
            found = rank(known, labels, counted(queries), **how)
            for k, predicted in found.predicted.items():
                hits[k].append((one.scored, predicted == truth))
            precisions.append((one.scored, found.precisions))
    outcomes = [pooled(f"knn{k}", "top-1", f"k={k}", hits[k]) for k in NEIGHBOURS]
    return [*outcomes, pooled("map", "mAP", "", precisions)]
