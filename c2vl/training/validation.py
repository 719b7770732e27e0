"""Figures of an encoder during training: by probes over folds of it, and without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from c2vl.encoder import embed_clips
from c2vl.objective.gather import gather
from c2vl.probes.feature_space import label_free_scores
from c2vl.probes.large_linear import CLOSE, ROUGH
from c2vl.probes.linear import fold_accuracies
from c2vl.probes.neighbours import knn_accuracy
from c2vl.training.batches import TrainingSet, generator
from c2vl.training.learner import Student

AT_ONCE = 256
SCORED = 3000
"""Training sequences that are scored at most; small sets are scored whole.

Of NTU RGB+D 120's 63,026, embedding so many takes 1.6 % of the operations of an epoch (a forward
pass is a third of a step). The standard error of an accuracy over them is at most 0.9 %.
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


@torch.no_grad()
def embedded(source: TrainingSet, student: Student) -> NDArray[np.float32]:
    """Return features (S, F) of :func:`scored_rows`, in evaluation mode.

    Each worker of a group embeds its share, with the first one's batch statistics; all must call.
    """
    scored = rows = scored_rows(source)
    workers = dist.get_world_size() if dist.is_initialized() else 1
    if workers > 1:
        for buffer in student.buffers():
            dist.broadcast(buffer, src=0)
        missing = -len(scored) % workers  # of equal shares
        rows = torch.cat([scored, scored[:missing]])[dist.get_rank() :: workers]
    stream = source.experiment.data.stream
    with student.precision.autocast():
        found = [
            embed_clips(
                student.encoder, source.clips(some), source.present[some], stream, source.layout
            )
            for some in rows.split(AT_ONCE)
        ]
    features_sF = np.concatenate(found)
    if workers == 1:
        return features_sF
    device = next(student.parameters()).device
    all_WsF = gather(torch.from_numpy(features_sF).to(device)).unflatten(0, (workers, -1))
    features: NDArray[np.float32] = all_WsF.transpose(0, 1).flatten(0, 1).cpu().numpy()
    return features[: len(scored)]


def validate(
    source: TrainingSet, student: Student, features: NDArray[np.float32]
) -> dict[str, float]:
    """Score the encoder on the training part of the split; this never reads the test part.

    Args:
        source: what is scored.
        student: the encoder, and the objective that it was trained with.
        features: what :func:`embedded` returned.

    Returns:
        ``knn_val`` and ``linear_val``: means over folds of training groups, each predicted from the
        others (0..1), where every sequence has a class; every registered label-free score; and what
        the objective adds. All are of :func:`scored_rows`.
    """
    scored = scored_rows(source)
    labels, fold = source.labels[scored.numpy()], source.fold[scored.numpy()]
    rest = label_free_scores(features) | _of_objective(source, student, scored, features)
    if (labels < 0).any():  # recordings with captions and no classes
        return rest
    only = scored_folds(source)
    device = next(student.parameters()).device
    nearest = []
    for number in only:
        held = fold == number
        known, asked = (features[~held], labels[~held]), (features[held], labels[held])
        nearest.append(knn_accuracy(*known, *asked, device=device))
    classes = int(labels.max()) + 1
    # A sample's own error is far above what a rough end changes.
    ends_at = ROUGH if len(scored) < len(source.labels) else CLOSE
    how: Any = {"classes": classes, "only": only, "device": device, "ends_at": ends_at}
    linear = fold_accuracies(features, labels, fold, **how)
    figures = {"knn_val": float(np.mean(nearest)), "linear_val": float(linear.mean(0).max())}
    return figures | rest


@torch.no_grad()
def _of_objective(
    source: TrainingSet, student: Student, scored: Tensor, features: NDArray[np.float32]
) -> dict[str, float]:
    device = next(student.parameters()).device
    concepts = {name: rows.means(scored).to(device) for name, rows in source.concepts.items()}
    has = {modality: there[scored].to(device) for modality, there in source.has.items()}
    features_NF = torch.from_numpy(features).to(device)
    return student.objective.validation_figures(features_NF, concepts, has)
