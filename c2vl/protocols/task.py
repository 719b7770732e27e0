"""What is evaluated: an encoder on a part of a split, with the folds to fit on and to score.

The test part is scored by what is fitted on all of training. Validation scores each fold of
training groups by what is fitted on the others. Everything that a protocol chooses is chosen
within ``fit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from c2vl.encoder import Encoder
from c2vl.encoder.store_features import store_features
from c2vl.probes.linear import LinearClassifier, do_nothing, fit_chosen
from c2vl.skeletons.splits import Split, folds, split
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.tables import MEDIAN_RANK
from c2vl.training.device import Precision

SplitPart = Literal["validation", "test"]
By = Literal["subject", "camera", "setup"]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Positions in the store to fit on and to score.

    Attributes:
        fit: the only sequences whose labels may decide anything.
        scored: what is predicted.
        inner: fold number of each sequence of ``fit``, for choices.
    """

    fit: Ints
    scored: Ints
    inner: Ints


@dataclass(frozen=True)
class Task:
    """An encoder, a store and a part of a split: what a protocol evaluates.

    Attributes:
        encoder: frozen.
        store: labelled sequences.
        split_name: a split of the store's dataset.
        part: "validation" or "test".
        seed: of every draw that a protocol makes.
        by: what training sequences are grouped by, for folds.
        k: number of folds.
        work: where a protocol keeps unfinished work; all workers reach it.
        precision: the format that networks compute in, and the device of networks and probes; the
            encoder is there already.
    """

    encoder: Encoder
    store: Store
    split_name: str
    part: SplitPart = "validation"
    seed: int = 0
    by: By = "subject"
    k: int = 4
    work: Path = Path("runs/results/.unfinished")
    precision: Precision = field(default_factory=Precision)

    @cached_property
    def rows(self) -> Floats:
        """(N, F) features of the whole store."""
        with self.precision.autocast():
            return store_features(self.encoder, self.store, self.variant("clean"))

    def variant(self, what: str) -> str:
        """Return what else decides features, in words: ``what``, and a format other than fp32."""
        name = self.precision.name
        return what if name == "fp32" else f"{what}, {name}"

    @property
    def device(self) -> torch.device:
        """Where networks and probes compute."""
        return self.precision.device

    @cached_property
    def labels(self) -> Ints:
        """(N,) labels of the whole store."""
        labels = self.store.index["label"].to_numpy(np.int64)
        if labels.min() < 0 or labels.max() >= self.classes:
            raise UserError(
                f"{self.store.path}: some sequences have no label of its {self.classes} classes; "
                "protocols need labels"
            )
        return labels

    @property
    def classes(self) -> int:
        """Classes of the dataset."""
        return len(self.store.class_names)

    @cached_property
    def split(self) -> Split:
        """The split's training and test positions."""
        return split(self.store.index, self.split_name)

    @cached_property
    def fold_numbers(self) -> Ints:
        """Fold number of each training sequence."""
        return folds(self.store.index, self.split.train, by=self.by, k=self.k)

    @cached_property
    def folds(self) -> list[Fold]:
        """One for the test part; for validation one of each group of training sequences."""
        train, numbers = self.split.train, self.fold_numbers
        if self.part == "test":
            return [Fold(train, self.split.test, numbers)]
        found = []
        for number in np.unique(numbers):
            held = numbers == number
            inner = np.unique(numbers[~held], return_inverse=True)[1].astype(np.int64)
            if not inner.any():  # one group is left: its sequences are dealt instead
                inner = np.arange(len(inner), dtype=np.int64) % self.k
            found.append(Fold(train[~held], train[held], inner))
        return found

    def probe(
        self, one: Fold, fitted: Callable[[], None] = do_nothing
    ) -> tuple[LinearClassifier, float]:
        """Return a fold's convex probe, and its accuracy on the inner folds that chose it, 0..1."""
        how: Any = {"classes": self.classes, "device": self.device, "fitted": fitted}
        return fit_chosen(*self.known(one.fit), one.inner, **how)

    def known(self, positions: Ints) -> tuple[Floats, Ints]:
        """Features and labels at positions."""
        return self.rows[positions], self.labels[positions]


@dataclass(frozen=True)
class Outcome:
    """One figure of a protocol, with what its interval is drawn from.

    Attributes:
        key: short name, the same in every table (``linear``, ``knn1``).
        metric: what is measured ("top-1", "mAP", "NMI", "ARI", "median rank").
        setting: which variant of the protocol, in words; empty where there is only one.
        positions: (n,) sequences that were scored.
        values: (n,) value of each: right or wrong, average precision, mean over draws.
        weights: (n,) of the mean: folds count the same, however long they are.
        spread: standard deviation over draws, where there are draws.
        draws: how many.
        clusters: for figures that are no mean (NMI, ARI): the cluster of each sequence.
        chosen: what was chosen on the way, and what it scored there.
        chance: what guessing scores, where no label is read; None elsewhere, where a random
            encoder is the lower bound.
    """

    key: str
    metric: str
    setting: str
    positions: Ints
    values: NDArray[np.float64]
    weights: NDArray[np.float64] | None = None
    spread: float | None = None
    draws: int = 1
    clusters: Ints | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    chance: float | None = None

    @property
    def value(self) -> float:
        """The figure: a mean, 0..1, or a median rank, from 1."""
        if self.metric == MEDIAN_RANK:
            return float(np.median(self.values))
        return float(np.average(self.values, weights=self.weights))


def pooled(
    key: str, metric: str, setting: str, folds: Iterable[tuple[Ints, NDArray[Any]]], **more: Any
) -> Outcome:
    """Join the folds of a protocol: each counts the same in the mean.

    Args:
        key, metric, setting: see :class:`Outcome`.
        folds: positions and values of each.
        more: other fields.
    """
    folds = list(folds)
    positions = np.concatenate([at for at, _ in folds])
    values = np.concatenate([np.asarray(found, np.float64) for _, found in folds])
    weights = np.concatenate([np.full(len(at), 1 / len(at)) for at, _ in folds])
    return Outcome(key, metric, setting, positions, values, weights, **more)


def pooled_draws(
    key: str, metric: str, setting: str, folds: Sequence[tuple[Ints, NDArray[np.float64]]]
) -> Outcome:
    """Join folds whose values (draws, n) were measured over several draws, the same in each."""
    by_draw = np.mean([values.mean(1) for _, values in folds], axis=0)
    return pooled(
        key,
        metric,
        setting,
        [(at, values.mean(0)) for at, values in folds],
        spread=float(by_draw.std(ddof=1)) if len(by_draw) > 1 else None,
        draws=len(by_draw),
    )


def draw_by_class(labels: Ints, count: Callable[[int], int], draw: np.random.Generator) -> Ints:
    """Draw rows of each class, ascending.

    Args:
        labels: (n,).
        count: rows to draw from a class, given how many it has; it gives at most those.
        draw: decides which.
    """
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(draw.permutation(rows)[: count(len(rows))])
    result: Ints = np.sort(np.concatenate(chosen)).astype(np.int64)
    return result
