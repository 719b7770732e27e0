"""Fine-tuning with all labels of the training part, with few of them, and on another dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2vl.encoder import Encoder
from c2vl.protocols.supervised import Recipe, scratch_folder, supervised_scores
from c2vl.protocols.task import Ints, Outcome, Task, pooled
from c2vl.protocols.workers import Machines

FRACTIONS = (0.01, 0.10)
DRAWS = 5


def fine_tune(
    task: Task,
    work: Path,
    recipe: Recipe,
    machines: Machines,
    *,
    start: Encoder | None = None,
    key: str = "finetune",
) -> list[Outcome]:
    """Train encoder and classifier on all labels of the training part; the last epoch counts.

    Args:
        task: what is judged.
        work: folder for unfinished trainings.
        recipe: how to train.
        machines: on what.
        start: where the weights start, if not at the encoder's.
        key: of the outcome.
    """
    rounds = []
    for place, one in enumerate(task.rounds):
        hits = _hits(
            task, one.fit, one.scored, work, f"{key}-{place}", task.seed, recipe, machines, start
        )
        rounds.append((one.scored, hits))
    return [pooled(key, "top-1", "all labels", rounds)]


def semi_supervised(
    task: Task, work: Path, recipe: Recipe, machines: Machines, *, draws: int = DRAWS
) -> list[Outcome]:
    """Fine-tune with 1 % and 10 % of the labels of each class, at least one; mean over 5 draws."""
    found = []
    for fraction in FRACTIONS:
        rounds, by_draw = [], np.zeros(draws)
        for place, one in enumerate(task.rounds):
            hits = np.zeros((draws, len(one.scored)))
            for number in range(draws):
                draw = np.random.default_rng([task.seed, number, place, round(1000 * fraction)])
                fit = one.fit[labelled(task.labels[one.fit], fraction, draw)]
                name = f"semi{fraction:g}-{place}-{number}"
                seed = task.seed * draws + number
                hits[number] = _hits(task, fit, one.scored, work, name, seed, recipe, machines)
            rounds.append((one.scored, hits.mean(0)))
            by_draw += hits.mean(1) / len(task.rounds)
        found.append(
            pooled(
                *(f"semi{100 * fraction:g}", "top-1", f"{100 * fraction:g} % of labels", rounds),
                spread=float(by_draw.std(ddof=1)) if draws > 1 else None,
                draws=draws,
            )
        )
    return found


def labelled(labels: Ints, fraction: float, draw: np.random.Generator) -> Ints:
    """Draw a share of the rows of each class, at least one; ascending."""
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(draw.permutation(rows)[: max(1, round(fraction * len(rows)))])
    result: Ints = np.sort(np.concatenate(chosen)).astype(np.int64)
    return result


def _hits(
    task: Task,
    fit: Ints,
    scored: Ints,
    work: Path,
    name: str,
    seed: int,
    recipe: Recipe,
    machines: Machines,
    start: Encoder | None = None,
) -> np.ndarray:
    with scratch_folder(work, name) as scratch:
        scores = supervised_scores(
            *(start or task.encoder, task.store, fit, scored),
            scratch=scratch,
            seed=seed,
            recipe=recipe,
            machines=machines,
        )
    return np.asarray(scores.argmax(1) == task.labels[scored])
