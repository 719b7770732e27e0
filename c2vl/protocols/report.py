"""Score a frozen encoder on a split: kNN and linear, with everything chosen on training folds.

The test part is read by :func:`score` with ``part="test"`` alone; ``part="validation"`` never
touches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from c2vl.config import Experiment
from c2vl.encoder import Encoder, build
from c2vl.errors import UserError
from c2vl.protocols.knn import knn_accuracy
from c2vl.protocols.linear import fit_chosen, sgd_accuracy
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.splits import Split, folds, split
from c2vl.skeletons.store import Store

Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Features:
    """Features and labels of a part of a store, in the order of its positions."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]


def part_features(encoder: Encoder, store: Store, positions: NDArray[np.int64]) -> Features:
    """Embed a part of a store, once, with the encoder's own preprocessing.

    Args:
        encoder: whose layout must be the store's.
        store: raw sequences.
        positions: which of them.

    Raises:
        UserError: the layouts differ.
    """
    if store.layout.joints != encoder.layout.joints:
        raise UserError(
            f"{store.path}: has the {store.layout.name} layout, the encoder was trained on "
            f"{encoder.layout.name}"
        )
    clips = load_clips(store, **encoder.card["preprocessing"])
    rows = encoder.embed_clips(
        torch.from_numpy(np.ascontiguousarray(clips.x[positions])),
        torch.from_numpy(np.ascontiguousarray(clips.present[positions])),
    )
    return Features(rows, store.index["label"].to_numpy(np.int64)[positions])


def score(
    encoder: Encoder,
    store: Store,
    split_name: str,
    *,
    part: Part,
    seed: int = 0,
    by: Literal["subject", "camera", "setup"] = "subject",
    k: int = 4,
) -> dict[str, float]:
    """Score an encoder on the validation folds of training, or on the test part.

    Args:
        encoder: frozen.
        store: labelled sequences.
        split_name: a split of the store's dataset.
        part: "validation" scores folds of the training groups by probes fitted on the others;
            "test" fits on all of training, with the regularisation that was best on those folds.
        seed: of the SGD probe.
        by: "subject", "camera" or "setup", what folds are grouped by.
        k: number of folds.

    Returns:
        Accuracies, 0..1: ``linear`` (convex probe), ``knn1``, ``knn20``, and for the test part
        ``linear_sgd`` (last epoch of the published protocol) and ``validation`` (what the chosen
        regularisation scored on the folds).
    """
    parts: Split = split(store.index, split_name)
    train = part_features(encoder, store, parts.train)
    groups = folds(store.index, parts.train, by=by, k=k)
    classes = len(store.class_names)
    probe, on_folds = fit_chosen(train.rows, train.labels, groups, classes=classes)
    if part == "validation":
        figures = {"linear": on_folds}
        for neighbours in (1, 20):
            figures[f"knn{neighbours}"] = float(
                np.mean([_knn_fold(train, groups == f, neighbours) for f in np.unique(groups)])
            )
        return figures
    test = part_features(encoder, store, parts.test)
    known, query = (train.rows, train.labels), (test.rows, test.labels)
    return {
        "linear": probe.accuracy(*query),
        "linear_sgd": sgd_accuracy(*_standardised(train, test), classes=classes, seed=seed)["last"],
        "knn1": knn_accuracy(*known, *query, k=1),
        "knn20": knn_accuracy(*known, *query, k=20),
        "validation": on_folds,
    }


def _knn_fold(part: Features, held: NDArray[np.bool_], k: int) -> float:
    rows, labels = part.rows, part.labels
    return knn_accuracy(rows[~held], labels[~held], rows[held], labels[held], k=k)


def _standardised(
    train: Features, test: Features
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    mean, scale = train.rows.mean(0), train.rows.std(0) + 1e-6
    return (train.rows - mean) / scale, train.labels, (test.rows - mean) / scale, test.labels


def random_encoder(experiment: Experiment, store: Store) -> Encoder:
    """The encoder that an experiment starts from: the figure that training has to beat.

    Args:
        experiment: gives seed, architecture and preprocessing.
        store: gives the layout.
    """
    torch.manual_seed(experiment.seed)
    data = experiment.data
    architecture = experiment.model.model_dump(mode="json")
    card = {
        "layout": store.layout.to_dict(),
        "architecture": architecture,
        "preprocessing": {"frames": data.frames, "centre": data.centre, "align": data.align},
        "stream": data.stream,
    }
    return Encoder(build(store.layout, architecture), card)
