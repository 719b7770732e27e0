"""Figures of an encoder during training: on held-out training subjects, and without labels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from c2vl.encoder import embed_clips
from c2vl.probes.feature_space import label_free_scores
from c2vl.probes.linear import fold_accuracies
from c2vl.probes.neighbours import knn_accuracy
from c2vl.training.batches import TrainingSet
from c2vl.training.learner import Student

AT_ONCE = 256


def scored_folds(source: TrainingSet) -> np.ndarray:
    """Return the folds to score: all, or only the first if pretraining did not see it."""
    if not source.experiment.data.pretrain_on_validation:
        return np.array([0])
    return np.unique(source.fold)


def validate(source: TrainingSet, student: Student) -> dict[str, float]:
    """Score the encoder on the training part of the split; this never reads the test part.

    Returns:
        ``knn_val`` and ``linear_val``: means over folds of training groups, each predicted from the
        others (0..1); every registered label-free score; and what the objective adds.
    """
    stream = source.experiment.data.stream
    everything = torch.arange(len(source.labels)).split(AT_ONCE)
    features = np.concatenate(
        [
            embed_clips(
                student.encoder, source.clips(rows), source.present[rows], stream, source.layout
            )
            for rows in everything
        ]
    )
    labels, fold = source.labels, source.fold
    only = scored_folds(source)
    nearest = [
        knn_accuracy(features[fold != f], labels[fold != f], features[fold == f], labels[fold == f])
        for f in only
    ]
    classes = int(labels.max()) + 1
    linear = fold_accuracies(features, labels, fold, classes=classes, only=only)
    figures = {"knn_val": float(np.mean(nearest)), "linear_val": float(linear.mean(0).max())}
    return figures | label_free_scores(features) | _of_objective(source, student, features)


@torch.no_grad()
def _of_objective(
    source: TrainingSet, student: Student, features: NDArray[np.float32]
) -> dict[str, float]:
    device = next(student.parameters()).device
    concepts = {
        modality: rows.means(torch.arange(len(source.labels))).to(device)
        for modality, rows in source.concepts.items()
    }
    has = {modality: there.to(device) for modality, there in source.has.items()}
    features_NF = torch.from_numpy(features).to(device)
    return student.objective.validation_figures(features_NF, concepts, has)
