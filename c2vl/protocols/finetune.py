"""Fine-tuning with all labels of the training part, with few of them, and from random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.encoder import Encoder
from c2vl.protocols.settings import SemiSupervisedSettings, TrainingSettings
from c2vl.protocols.supervised import fresh, is_scored, steps_of, supervised_scores
from c2vl.protocols.task import Ints, Outcome, Task, draw_by_class, pooled, pooled_draws
from c2vl.support.progress import progress

FRACTIONS = (0.01, 0.10)


@dataclass(frozen=True)
class Training:
    """One training of a protocol.

    Attributes:
        name: of its folder, below the task's.
        fit, scored: positions to learn and to score.
        seed: of the classifier, the order and dropout.
    """

    name: str
    fit: Ints
    scored: Ints
    seed: int


def fine_tune(
    task: Task, settings: TrainingSettings, *, start: Encoder | None = None
) -> list[Outcome]:
    """Train encoder and classifier on all labels of the training part; the last epoch counts.

    Args:
        task: what is evaluated.
        settings: how to train.
        start: where the weights start, if not at the encoder's.
    """
    trainings = planned(task, settings)
    hits = _all_hits(task, trainings, settings, start or task.encoder)
    scored = [one.scored for one in trainings]
    return [pooled("finetune", "top-1", "all labels", zip(scored, hits, strict=True))]


def supervised(task: Task, settings: TrainingSettings) -> list[Outcome]:
    """Train as :func:`fine_tune` does, from random weights of the same architecture."""
    return fine_tune(task, settings, start=fresh(task.encoder, task.seed))


def semi_supervised(task: Task, settings: SemiSupervisedSettings) -> list[Outcome]:
    """Fine-tune with 1 % and 10 % of the labels of each class, at least one; mean over draws."""
    trainings = planned(task, settings)
    hits = iter(_all_hits(task, trainings, settings, task.encoder))
    found = []
    for fraction in FRACTIONS:
        by_fold = [
            (one.scored, np.stack([next(hits) for _ in range(settings.draws)]).astype(np.float64))
            for one in task.folds
        ]
        percent = f"{100 * fraction:g}"
        found.append(pooled_draws(f"semi{percent}", "top-1", f"{percent} % of labels", by_fold))
    return found


def planned(task: Task, settings: TrainingSettings) -> list[Training]:
    """Return the trainings of a protocol: a fold each, or a fraction, a fold and a draw each."""
    if not isinstance(settings, SemiSupervisedSettings):
        return [
            Training(f"finetune-{place}", one.fit, one.scored, task.seed)
            for place, one in enumerate(task.folds)
        ]
    found = []
    for fraction in FRACTIONS:
        for place, one in enumerate(task.folds):
            for number in range(settings.draws):
                draw = np.random.default_rng([task.seed, number, place, round(1000 * fraction)])
                fit = one.fit[labelled(task.labels[one.fit], fraction, draw)]
                seed = task.seed * settings.draws + number
                found.append(Training(f"semi{fraction:g}-{place}-{number}", fit, one.scored, seed))
    return found


def labelled(labels: Ints, fraction: float, draw: np.random.Generator) -> Ints:
    """Draw a share of the rows of each class, at least one; ascending."""
    return draw_by_class(labels, lambda rows: max(1, round(fraction * rows)), draw)


def _all_hits(
    task: Task, trainings: Sequence[Training], settings: TrainingSettings, start: Encoder
) -> list[NDArray[np.bool_]]:
    """Train one after the other; return which scored sequences each has right."""
    left = [one for one in trainings if not is_scored(task.work / one.name)]
    steps = {one.name: steps_of(len(one.fit), settings) for one in left}
    done, total, found = 0, sum(steps.values()), []
    with progress("training steps") as shown:
        for one in trainings:

            def stepped(step: int, before: int = done) -> None:
                shown(before + step, total)

            scores = supervised_scores(
                start,
                task.store,
                one.fit,
                one.scored,
                scratch=task.work / one.name,
                seed=one.seed,
                settings=settings,
                stepped=stepped,
            )
            done += steps.get(one.name, 0)
            shown(done, total)
            found.append(np.asarray(scores.argmax(1) == task.labels[one.scored]))
    return found
