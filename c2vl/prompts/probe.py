"""How much of the action the prompts tell: a linear probe on the mean concept feature.

Labels are used here alone, to judge prompts, never to make them. The figure to improve against
leaves out one training subject at a time; the test subjects are read on request only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.errors import UserError
from c2vl.prompts.concepts import ConceptTable
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Ridge penalties tried; chosen on held-out training subjects."""

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies, as shares of 1.

    Attributes:
        validation: mean over training subjects, each left out in turn.
        by_subject: the same for each of them.
        strength: ridge penalty with the best ``validation``.
        test: on the test part at that strength, or None when it was not asked for.
        classes: labels seen; chance is one over this.
    """

    validation: float
    by_subject: dict[int, float]
    strength: float
    test: float | None
    classes: int


def probe(
    features: Rows, labels: Numbers, subjects: Numbers, train: Numbers, test: Numbers | None = None
) -> ProbeResult:
    """Fit ridge classifiers on unit-norm rows, centred, with one scale for all columns.

    Ridge has a closed form, so the figure is the same everywhere, and takes a second.

    Args:
        features: (N, D).
        labels: (N,).
        subjects: (N,) performers; training ones are left out in turn.
        train: positions of the training part.
        test: positions of the test part, when its figure is wanted.

    Raises:
        UserError: the training part has fewer than two subjects.
    """
    groups = np.unique(subjects[train])
    if len(groups) < 2:
        raise UserError("the probe leaves out one training subject at a time, and there is one")
    best: tuple[float, float, dict[int, float]] = (-1.0, 0.0, {})
    for strength in STRENGTHS:
        scores = {}
        for group in groups:
            held = subjects[train] == group
            scores[int(group)] = _accuracy(features, labels, train[~held], train[held], strength)
        mean = float(np.mean(list(scores.values())))
        if mean > best[0]:
            best = (mean, strength, scores)
    validation, strength, by_subject = best
    figure = None if test is None else _accuracy(features, labels, train, test, strength)
    classes = len(np.unique(labels[train]))
    return ProbeResult(validation, by_subject, strength, figure, classes)


def probe_table(
    table: ConceptTable, store: Store, split_name: str, *, test: bool = False
) -> ProbeResult:
    """Probe the mean prompt of each sequence of a store on unseen subjects.

    Args:
        table: concept features.
        store: labels and subjects.
        split_name: which sequences are training, and which are test.
        test: also read the test figure.

    Raises:
        UserError: the table lacks sequences, or the split does not fit the store.
    """
    parts = split(store.index, split_name)
    rows = table.join([str(name) for name in store.index["id"]])
    mean = rows.mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    labels = store.index["label"].to_numpy(np.int64)
    subjects = store.index["subject"].to_numpy(np.int64)
    return probe(mean, labels, subjects, parts.train, parts.test if test else None)


def _accuracy(
    features: Rows, labels: Numbers, fit: Numbers, score: Numbers, strength: float
) -> float:
    from sklearn.linear_model import RidgeClassifier

    centre = features[fit].mean(axis=0)
    scale = float(np.sqrt(np.mean((features[fit] - centre) ** 2))) or 1.0
    model = RidgeClassifier(alpha=strength)
    model.fit(((features[fit] - centre) / scale).astype(np.float64), labels[fit])
    found = model.predict(((features[score] - centre) / scale).astype(np.float64))
    return float(np.mean(found == labels[score]))
