"""Few-shot: nearest class mean of 1 or 5 labelled sequences a class (Snell et al., 2017, eq. 1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.protocols.task import Outcome, Task, pooled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
SHOTS = (1, 5)
DRAWS = 50


def few_shot(task: Task) -> list[Outcome]:
    """Predict all classes from 1 and from 5 sequences of each, over 50 draws of them.

    A class with fewer sequences gives what it has. The spread is over draws.
    """
    found = []
    for shots in SHOTS:
        rounds, by_draw = [], np.zeros(DRAWS)
        for place, one in enumerate(task.rounds):
            draw = np.random.default_rng([task.seed, shots, place])
            hits = np.zeros((DRAWS, len(one.scored)))
            for number in range(DRAWS):
                support = draw_per_class(task.labels[one.fit], shots, draw)
                predicted = nearest_mean(*task.known(one.fit[support]), task.rows[one.scored])
                hits[number] = predicted == task.labels[one.scored]
            rounds.append((one.scored, hits.mean(0)))
            by_draw += hits.mean(1) / len(task.rounds)
        found.append(
            pooled(
                *(f"fewshot{shots}", "top-1", f"{shots} a class", rounds),
                spread=float(by_draw.std(ddof=1)),
                draws=DRAWS,
            )
        )
    return found


def draw_per_class(labels: Ints, count: int, draw: np.random.Generator) -> Ints:
    """Draw ``count`` rows of each class that is there, or all that it has; ascending."""
    chosen = [
        draw.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)
    ]
    result: Ints = np.sort(np.concatenate(chosen)).astype(np.int64)
    return result


def nearest_mean(support: Floats, labels: Ints, query: Floats) -> Ints:
    """Class whose mean of unit features is nearest by cosine, (q,)."""
    unit = support / np.maximum(np.linalg.norm(support, axis=1, keepdims=True), 1e-12)
    classes = np.unique(labels)
    means = np.stack([unit[labels == label].mean(0) for label in classes])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    result: Ints = classes[(query @ means.T).argmax(1)]
    return result
