"""Linear evaluation on frozen features: a convex probe at its optimum, and SGD as published.

The convex probe (multinomial logistic regression with an L2 penalty, by scikit-learn) is the
reproducible figure: it has one optimum, and its strength of regularisation is chosen on folds of
the training groups. The SGD probe follows the lineage (lr 3.0, no weight decay, ×0.1 at epoch 80
of 100, batch 128).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from c2vl.probes.large_linear import CLOSE, solutions
from c2vl.support.progress import Progress

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Hits = NDArray[np.bool_]

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""L2 strengths on standardised features, strong to weak, so that each fit starts warm."""
SGD_EPOCHS = 100
PAST = 2  # strengths tried past the best
TOLERANCE = 1e-7  # of the largest component of the gradient
LARGE = 20e6
"""Rows × features × classes past which scikit-learn's solvers are too slow."""
CPU = torch.device("cpu")
ROUNDING = float(np.finfo(np.float32).eps)
ABSENT = -1e3  # score of a class that no fitted row has; its optimum is at minus infinity


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted linear classifier with the standardisation of its features.

    Attributes:
        mean, scale: (F,) standardisation.
        weight: (classes, F).
        bias: (classes,).
        strength: the L2 strength it was fitted with.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    strength: float

    def scores(self, features: Floats) -> Floats:
        """Return class scores (n, classes) of features (n, F)."""
        x = (torch.from_numpy(features).to(self.mean.device).double() - self.mean) / self.scale
        result: Floats = (x @ self.weight.t() + self.bias).float().cpu().numpy()
        return result

    def hits(self, features: Floats, labels: Ints) -> Hits:
        """Return which top-1 predictions are right, (n,) bool."""
        right: Hits = self.scores(features).argmax(1) == labels
        return right


def fit_path(
    features: Floats,
    labels: Ints,
    *,
    classes: int,
    strengths: tuple[float, ...] = STRENGTHS,
    device: torch.device = CPU,
    ends_at: float = CLOSE,
) -> Iterator[LinearClassifier]:
    """Fit a classifier for each strength when it is asked for, starting from the one before.

    Minimises ``mean CE + strength/2 · ||W||² / F`` over standardised features in float64.
    Newton-CG, since L-BFGS is off the optimum at weak strengths (features of UTD-MHAD: at a
    tolerance of 1e-5 it changes 8 of 430 predictions, in twice the time).

    Above :data:`LARGE` by :mod:`c2vl.probes.large_linear`. At 60,000 rows × 256 features × 120
    classes scikit-learn's newton-cg had fitted 3 of the 7 strengths after 128 s, its lbfgs (1e-5)
    took 145 s for all, and :func:`fit_chosen` fits five such paths; with ours it takes 123 CPU
    seconds in all. At 6,000 rows at most 2 of 4,000 predictions differ from newton-cg's.

    Args:
        features: (n, F).
        labels: (n,) integers in 0..classes-1.
        classes: number of classes.
        strengths: descending.
        device: where a large one is fitted; scikit-learn's are fitted on the CPU.
        ends_at: how close to its optimum a large one is (:mod:`c2vl.probes.large_linear`).
    """
    known, own = np.unique(labels, return_inverse=True)
    large = features.size * len(known) > LARGE
    x = torch.from_numpy(features).to(device if large else CPU).double()
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    rows = (x - mean).div_(scale)
    del x
    if len(known) == 1:
        found: Iterator[tuple[Tensor, Tensor]] = repeat((mean.new_zeros(1), mean.new_zeros(1)))
    elif large:
        found = solutions(rows, torch.from_numpy(own).to(device), len(known), strengths, ends_at)
    else:
        found = _newton(rows.numpy(), labels, strengths)
    at = torch.from_numpy(known)
    for strength, (weight_of_known, bias_of_known) in zip(strengths, found, strict=False):
        weight = mean.new_zeros(classes, len(mean))
        bias = mean.new_full((classes,), ABSENT)
        weight[at], bias[at] = weight_of_known, bias_of_known
        yield LinearClassifier(mean, scale, weight, bias, strength)


def _newton(
    rows: NDArray[np.float64], labels: Ints, strengths: tuple[float, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weight and bias of the labels' classes for each strength, by scikit-learn."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    solver = LogisticRegression(solver="newton-cg", tol=TOLERANCE, max_iter=1000, warm_start=True)
    two = len(np.unique(labels)) == 2
    for strength in strengths:
        # Of two classes scikit-learn fits w₁ - w₀ alone, whose square is twice ours.
        solver.C = (2 if two else 1) * rows.shape[1] / (strength * len(rows))
        solver.fit(rows, labels)
        weight, bias = torch.from_numpy(solver.coef_), torch.from_numpy(solver.intercept_)
        if two:
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        yield weight, bias


def do_nothing() -> None:
    """Show no progress."""


def counting(shown: Progress, total: int) -> Callable[[], None]:
    """Return a function that advances a progress bar of ``total`` by one per call."""
    done = count(1)
    return lambda: shown(next(done), total)


def hits_by_strength(
    folds: Iterable[tuple[Floats, Ints, Floats, Ints]],
    *,
    classes: int,
    fitted: Callable[[], None] = do_nothing,
    device: torch.device = CPU,
    ends_at: float = CLOSE,
) -> list[list[Hits]]:
    """Return which predictions are right, for each strength in turn and each fold.

    Weaker strengths take longer. The search ends once :data:`PAST` of them are no better than
    the best so far, on the mean over folds.

    Args:
        folds: features (n, F) and labels to fit, features (m, F) and labels to score.
        classes: number of classes.
        fitted: called after each fit.
        device, ends_at: see :func:`fit_path`; so of the functions below.
    """
    folds = list(folds)
    how: Any = {"classes": classes, "device": device, "ends_at": ends_at}
    paths = [fit_path(x, y, **how) for x, y, *_ in folds]
    table: list[list[Hits]] = []
    means: list[float] = []
    for _ in STRENGTHS:
        table.append([])
        for path, (*_, query, truth) in zip(paths, folds, strict=True):
            table[-1].append(next(path).hits(query, truth))
            fitted()
        means.append(float(np.mean([hits.mean() for hits in table[-1]])))
        if len(means) - 1 - int(np.argmax(means)) >= PAST:
            break
    return table


def fold_accuracies(
    features: Floats,
    labels: Ints,
    fold: Ints,
    *,
    classes: int,
    only: Ints | None = None,
    fitted: Callable[[], None] = do_nothing,
    device: torch.device = CPU,
    ends_at: float = CLOSE,
) -> NDArray[np.float64]:
    """Accuracy of each strength on each fold, by classifiers fitted on the other folds.

    Args:
        features: (n, F).
        labels: (n,).
        fold: (n,) fold numbers.
        classes: number of classes.
        only: folds to score; all if None.
        fitted: called after each fit.

    Returns:
        (folds, strengths); the weakest strengths are left out (:func:`hits_by_strength`).
    """
    numbers = np.unique(fold) if only is None else only
    held_out = [fold == number for number in numbers]
    parts = [(features[~held], labels[~held], features[held], labels[held]) for held in held_out]
    how: Any = {"classes": classes, "device": device, "ends_at": ends_at}
    table = hits_by_strength(parts, fitted=fitted, **how)
    return np.array([[hits.mean() for hits in row] for row in table]).T


def most_fits(fold: Ints) -> int:
    """The most classifiers that :func:`fit_chosen` fits."""
    return len(STRENGTHS) * len(np.unique(fold)) + 1


def fit_chosen(
    features: Floats,
    labels: Ints,
    fold: Ints,
    *,
    classes: int,
    fitted: Callable[[], None] = do_nothing,
    device: torch.device = CPU,
) -> tuple[LinearClassifier, float]:
    """Fit on all rows with the strength that is best on the mean over folds.

    Returns:
        The classifier, and its mean accuracy over the folds, 0..1.
    """
    table = fold_accuracies(features, labels, fold, classes=classes, fitted=fitted, device=device)
    mean = table.mean(0)
    best = int(mean.argmax())  # the first of equals is the strongest
    chosen = STRENGTHS[best : best + 1]
    (classifier,) = fit_path(features, labels, classes=classes, strengths=chosen, device=device)
    fitted()
    return classifier, float(mean[best])


def sgd_hits(
    train: Floats,
    labels: Ints,
    test: Floats,
    test_labels: Ints,
    *,
    classes: int,
    seed: int = 0,
    passed: Callable[[], None] = do_nothing,
    device: torch.device = CPU,
) -> dict[str, Hits]:
    """The published protocol: SGD lr 3.0, momentum 0.9, ×0.1 at epoch 80 of 100, batch 128.

    Features are standardised first; one that is constant in ``train``, but for float32's rounding,
    says nothing and is left out. ``passed`` is called after each epoch.

    Returns:
        Which of the scored sequences are right, (n,): after the ``last`` epoch, and after the
        ``best`` one on the scored part, which papers report and which is not a fair figure where
        that part is the test split.
    """
    mean, std = train.mean(0), train.std(0) + 1e-6
    std[np.ptp(train, axis=0) <= 4 * ROUNDING * np.abs(train).max(0)] = np.inf
    x, query = (
        torch.from_numpy(np.asarray((rows - mean) / std, np.float32)).to(device)
        for rows in (train, test)
    )
    y = torch.from_numpy(labels).to(device)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.empty(classes, x.shape[1]).normal_(0, 0.01, generator=draw)
    weight = weight.to(device).requires_grad_()
    bias = torch.zeros(classes, device=device, requires_grad=True)
    solver = torch.optim.SGD([weight, bias], lr=3.0, momentum=0.9)
    best = last = np.zeros(len(test), dtype=bool)
    for epoch in range(SGD_EPOCHS):
        if epoch == 80:
            solver.param_groups[0]["lr"] = 0.3
        for rows in torch.randperm(len(x), generator=draw).to(device).split(128):
            solver.zero_grad()
            functional.cross_entropy(functional.linear(x[rows], weight, bias), y[rows]).backward()
            solver.step()
        with torch.no_grad():
            guess = functional.linear(query, weight, bias).argmax(1).cpu().numpy()
        last = guess == test_labels
        if last.mean() > best.mean():
            best = last
        passed()
    return {"last": last, "best": best}
