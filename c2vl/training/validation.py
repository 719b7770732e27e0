"""Figures of an encoder during training: on held-out training subjects, and without labels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2vl.encoder import embed_clips
from c2vl.probes.feature_space import label_free_scores
from c2vl.probes.linear import fold_accuracies
from c2vl.probes.neighbours import knn_accuracy
from c2vl.training.batches import TrainingSet, generator
from c2vl.training.learner import Student

AT_ONCE = 256
SCORED = 6000
"""Training sequences that are scored at most; small sets are scored whole.

Of NTU RGB+D 120's 63,026, embedding so many takes 3 % of the operations of an epoch (a forward pass
is a third of a step). The standard error of an accuracy over them is at most 0.65 %.
"""


def scored_folds(source: TrainingSet) -> np.ndarray:
    """Return the folds to score: all, or only the first if pretraining did not see it."""
    if not source.experiment.data.pretrain_on_validation:
        return np.array([0])
    return np.unique(source.fold)


def scored_rows(source: TrainingSet) -> Tensor:
    """Return the rows (n,) of the training set to score: all, or a sample drawn by the seed.

    The same ones each time, so that the figures of a run's epochs can be compared.
    """
    count = len(source.labels)
    if count <= SCORED:
        return torch.arange(count)
    draw = generator(source.experiment.seed, 3)
    return torch.randperm(count, generator=draw)[:SCORED].sort().values


def validate(source: TrainingSet, student: Student) -> dict[str, float]:
    """Score the encoder on the training part of the split; this never reads the test part.

    Returns:
        ``knn_val`` and ``linear_val``: means over folds of training groups, each predicted from the
        others (0..1); every registered label-free score; and what the objective adds. All are of
        :func:`scored_rows`.
    """
    stream, scored = source.experiment.data.stream, scored_rows(source)
    features = np.concatenate(
        [
            embed_clips(
                student.encoder, source.clips(rows), source.present[rows], stream, source.layout
            )
            for rows in scored.split(AT_ONCE)
        ]
    )
    labels, fold = source.labels[scored.numpy()], source.fold[scored.numpy()]
    only = scored_folds(source)
    nearest = [
        knn_accuracy(features[fold != f], labels[fold != f], features[fold == f], labels[fold == f])
        for f in only
    ]
    classes = int(labels.max()) + 1
    linear = fold_accuracies(features, labels, fold, classes=classes, only=only)
    figures = {"knn_val": float(np.mean(nearest)), "linear_val": float(linear.mean(0).max())}
    return figures | label_free_scores(features) | _of_objective(source, student, scored, features)


@torch.no_grad()
def _of_objective(
    source: TrainingSet, student: Student, scored: Tensor, features: NDArray[np.float32]
) -> dict[str, float]:
    device = next(student.parameters()).device
    concepts = {name: rows.means(scored).to(device) for name, rows in source.concepts.items()}
    has = {modality: there[scored].to(device) for modality, there in source.has.items()}
    features_NF = torch.from_numpy(features).to(device)
    return student.objective.validation_figures(features_NF, concepts, has)
