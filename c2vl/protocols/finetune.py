"""Fine-tuning with all labels of the training part, with few of them, and from random weights."""

from __future__ import annotations

import numpy as np

from c2vl.encoder import Encoder
from c2vl.protocols.settings import SemiSupervisedSettings, TrainingSettings
from c2vl.protocols.supervised import fresh, supervised_scores
from c2vl.protocols.task import Ints, Outcome, Task, draw_by_class, pooled, pooled_draws

FRACTIONS = (0.01, 0.10)


def fine_tune(
    task: Task, settings: TrainingSettings, *, start: Encoder | None = None
) -> list[Outcome]:
    """Train encoder and classifier on all labels of the training part; the last epoch counts.

    Args:
        task: what is evaluated.
        settings: how to train.
        start: where the weights start, if not at the encoder's.
    """
    hits = [
        (one.scored, _hits(task, one.fit, one.scored, f"finetune-{place}", settings, start=start))
        for place, one in enumerate(task.folds)
    ]
    return [pooled("finetune", "top-1", "all labels", hits)]


def supervised(task: Task, settings: TrainingSettings) -> list[Outcome]:
    """Train as :func:`fine_tune` does, from random weights of the same architecture."""
    return fine_tune(task, settings, start=fresh(task.encoder, task.seed))


def semi_supervised(task: Task, settings: SemiSupervisedSettings) -> list[Outcome]:
    """Fine-tune with 1 % and 10 % of the labels of each class, at least one; mean over draws."""
    found = []
    for fraction in FRACTIONS:
        hits = []
        for place, one in enumerate(task.folds):
            rows = np.zeros((settings.draws, len(one.scored)))
            for number in range(settings.draws):
                draw = np.random.default_rng([task.seed, number, place, round(1000 * fraction)])
                fit = one.fit[labelled(task.labels[one.fit], fraction, draw)]
                name = f"semi{fraction:g}-{place}-{number}"
                seed = task.seed * settings.draws + number
                rows[number] = _hits(task, fit, one.scored, name, settings, seed=seed)
            hits.append((one.scored, rows))
        percent = f"{100 * fraction:g}"
        found.append(pooled_draws(f"semi{percent}", "top-1", f"{percent} % of labels", hits))
    return found


def labelled(labels: Ints, fraction: float, draw: np.random.Generator) -> Ints:
    """Draw a share of the rows of each class, at least one; ascending."""
    return draw_by_class(labels, lambda rows: max(1, round(fraction * rows)), draw)


def _hits(
    task: Task,
    fit: Ints,
    scored: Ints,
    name: str,
    settings: TrainingSettings,
    *,
    start: Encoder | None = None,
    seed: int | None = None,
) -> np.ndarray:
    scores = supervised_scores(
        start or task.encoder,
        task.store,
        fit,
        scored,
        scratch=task.work / name,
        seed=task.seed if seed is None else seed,
        settings=settings,
    )
    return np.asarray(scores.argmax(1) == task.labels[scored])
