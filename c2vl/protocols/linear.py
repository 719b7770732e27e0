"""Linear evaluation on frozen features: a convex probe run to its optimum, and SGD as published.

The convex probe (multinomial logistic regression, L2) is the reproducible figure: it has one
optimum, found by Newton's method, and its regularisation is chosen on folds of the training groups.
The SGD probe follows the lineage (lr 3.0, no weight decay, ×0.1 at epoch 80 of 100, batch 128).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from c2vl.protocols.task import Outcome, Round, Task, pooled
from c2vl.protocols.workers import ALONE, Share
from c2vl.support.progress import Progress, silent

Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Hits = NDArray[np.bool_]

# L2 strengths per sample on standardised features, strong to weak, so that each starts warm.
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
PAST = 2  # strengths tried past the best
TOLERANCE = 1e-5  # norm of the gradient, each weight in units of its curvature


@dataclass(frozen=True)
class Probe:
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
        """Class scores (n, classes) of features (n, F)."""
        x = (torch.from_numpy(features).double() - self.mean) / self.scale
        result: Floats = (x @ self.weight.t() + self.bias).float().numpy()
        return result

    def hits(self, features: Floats, labels: Ints) -> Hits:
        """Which top-1 predictions are right, (n,)."""
        right: Hits = self.scores(features).argmax(1) == labels
        return right

    def accuracy(self, features: Floats, labels: Ints) -> float:
        """Share of right top-1 predictions, 0..1."""
        return float(self.hits(features, labels).mean())


def fit_path(
    features: Floats,
    labels: Ints,
    *,
    classes: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Iterator[Probe]:
    """Fit a probe for each strength, each started from the one before and when it is asked for.

    Minimises ``mean CE + strength/2 · ||W||² / F`` over standardised features in float64, by
    Newton's method in a trust region (Steihaug). It is solved along the features' principal axes,
    each scaled by its curvature, where few conjugate-gradient steps are needed.

    Args:
        features: (n, F).
        labels: (n,) integers in 0..classes-1.
        classes: number of classes.
        strengths: descending.
    """
    x = torch.from_numpy(features).double()
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    left, size, right = torch.linalg.svd((x - mean) / scale, full_matrices=False)
    there = size > size[0] * 1e-10
    left, size, right = left[:, there], size[there], right[there].T
    axes = torch.cat([left * size, x.new_ones(len(x), 1)], 1)  # the bias is the last axis
    target = functional.one_hot(torch.from_numpy(labels), classes).double()
    weight = x.new_zeros(axes.shape[1], classes)
    for strength in strengths:
        penalty = x.new_full((axes.shape[1], 1), strength / x.shape[1])
        penalty[-1] = 0
        problem = Logistic(axes, target, penalty, start=weight)
        weight = problem.optimum()
        yield Probe(mean, scale, (right @ weight[:-1]).T.contiguous(), weight[-1], strength)


FitPath = Callable[..., Iterator[Probe]]
"""What fits probes as :func:`fit_path` does."""


def counted(path: FitPath, told: Progress, most: int) -> FitPath:
    """Fit as ``path`` does, and tell how many probes of at most so many have been fitted."""
    done = 0

    def fits(*rows: Any, **settings: Any) -> Iterator[Probe]:
        nonlocal done
        for probe in path(*rows, **settings):
            done += 1
            told(done, most)
            yield probe

    return fits


class Logistic:
    """Mean cross-entropy of a linear classifier, with a penalty, and its optimum.

    Args:
        rows: (n, D).
        target: (n, classes), rows sum to 1.
        penalty: (D, 1), of the squared weights.
        start: (D, classes), weights to start from; the curvature there is the unit of each weight.
    """

    def __init__(self, rows: Tensor, target: Tensor, penalty: Tensor, start: Tensor) -> None:
        self.rows, self.across, self.penalty = rows, rows.T.contiguous() / len(rows), penalty
        self.target = target
        p = functional.softmax(rows @ start, 1)
        curvature = self.across.mul(rows.T) @ (p * (1 - p)) + penalty
        self.step = curvature.clamp_min(1e-8).rsqrt()
        self.start = start
        self._at, self._p = np.empty(0), p

    def optimum(self) -> Tensor:
        """Weights (D, classes) at which the gradient is nearly zero."""
        solved = minimize(
            self.loss,
            (self.start / self.step).flatten().numpy(),
            jac=True,
            hessp=self.curved,
            method="trust-ncg",
            options={"gtol": TOLERANCE, "initial_trust_radius": 10, "max_trust_radius": 1e5},
        )
        return self._weight(solved.x)

    def loss(self, at: Floats64) -> tuple[float, Floats64]:
        """Value and gradient at flattened weights (D · classes,), in units of ``step``."""
        weight = self._weight(at)
        logits = self.rows @ weight
        log_p = logits - logits.logsumexp(1, keepdim=True)
        self._at, self._p = at.copy(), log_p.exp()
        shrink = self.penalty * weight
        loss = (shrink * weight).sum() / 2 - (self.target * log_p).sum() / len(log_p)
        gradient = self.across @ (self._p - self.target) + shrink
        return float(loss), (gradient * self.step).flatten().numpy()

    def curved(self, at: Floats64, along: Floats64) -> Floats64:
        """Product of the Hessian at ``at`` with a direction, both (D · classes,)."""
        if not np.array_equal(at, self._at):
            self._at, self._p = at.copy(), functional.softmax(self.rows @ self._weight(at), 1)
        direction = self._weight(along)
        moved = self._p * (self.rows @ direction)
        moved -= self._p * moved.sum(1, keepdim=True)
        product = self.across @ moved + self.penalty * direction
        return (product * self.step).flatten().numpy()

    def _weight(self, flat: Floats64) -> Tensor:
        return torch.from_numpy(flat).view_as(self.step) * self.step


def hits_by_strength(
    folds: Iterable[tuple[Floats, Ints, Floats, Ints]], *, classes: int, path: FitPath = fit_path
) -> list[list[Hits]]:
    """Which predictions are right, for each strength in turn and each fold.

    Weaker strengths take ever longer and are not tried once :data:`PAST` of them were no better
    than the best so far, on the mean over folds.

    Args:
        folds: features (n, F) and labels to fit, features (m, F) and labels to score.
        classes: number of classes.
        path: how probes are fitted.
    """
    folds = list(folds)
    paths = [path(x, y, classes=classes) for x, y, *_ in folds]
    table: list[list[Hits]] = []
    means: list[float] = []
    for probes in zip(*paths, strict=True):
        table.append([probe.hits(*fold[2:]) for probe, fold in zip(probes, folds, strict=True)])
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
    path: FitPath = fit_path,
) -> NDArray[np.float64]:
    """Accuracy of each strength on each fold, by probes fitted on the other folds.

    Args:
        features: (n, F).
        labels: (n,).
        fold: (n,) fold numbers.
        classes: number of classes.
        only: folds to score; all if None.
        path: how probes are fitted.

    Returns:
        (folds, strengths); the weakest strengths are left out (:func:`hits_by_strength`).
    """
    numbers = np.unique(fold) if only is None else only
    helds = [fold == number for number in numbers]
    parts = [(features[~held], labels[~held], features[held], labels[held]) for held in helds]
    table = hits_by_strength(parts, classes=classes, path=path)
    return np.array([[hits.mean() for hits in row] for row in table]).T


def most_fits(fold: Ints) -> int:
    """The most probes that :func:`fit_chosen` fits."""
    return len(STRENGTHS) * (len(np.unique(fold)) + 1)


def fit_chosen(
    features: Floats, labels: Ints, fold: Ints, *, classes: int, path: FitPath = fit_path
) -> tuple[Probe, float]:
    """Fit on all rows with the strength that is best on the mean over folds.

    Returns:
        The probe and its mean accuracy over the folds, 0..1.
    """
    mean = fold_accuracies(features, labels, fold, classes=classes, path=path).mean(0)
    best = int(mean.argmax())  # the first of equals is the strongest
    *_, probe = path(features, labels, classes=classes, strengths=STRENGTHS[: best + 1])
    return probe, float(mean[best])


@dataclass(frozen=True)
class Judged:
    """What the linear probes of a protocol got right.

    Attributes:
        convex, last, best: which scored sequences, of each round.
        chosen: the strength, and what it scored on folds.
    """

    convex: list[Hits]
    last: list[Hits]
    best: list[Hits]
    chosen: dict[str, float]


def judge(
    rows: Floats,
    labels: Ints,
    rounds: Sequence[Round],
    *,
    classes: int,
    seed: int,
    tested: bool,
    path: FitPath = fit_path,
    share: Share = ALONE,
    told: Progress = silent,
) -> Judged:
    """Fit and score the probes of every round.

    Args:
        rows: (N, F) features of the whole store.
        labels: (N,).
        rounds: what is fitted and scored.
        classes: number of classes.
        seed: of SGD's draws.
        tested: one round, the strength chosen on its inner folds; else the strength that is best
            on the mean over rounds.
        path: how convex probes are fitted.
        share: of the steps of SGD.
        told: called with the probes fitted, or passed over, and the most that may be.
    """
    fits = most_fits(rounds[0].inner) if tested else len(rounds) * len(STRENGTHS)
    total = fits + len(rounds)
    path = counted(path, told, total)
    parts = [(rows[o.fit], labels[o.fit], rows[o.scored], labels[o.scored]) for o in rounds]
    chosen: dict[str, float]
    if tested:
        (only,), ((x, y, query, truth),) = rounds, parts
        probe, on_folds = fit_chosen(x, y, only.inner, classes=classes, path=path)
        chosen = {"strength": probe.strength, "validation": on_folds}
        convex = [probe.hits(query, truth)]
    else:
        hits = hits_by_strength(parts, classes=classes, path=path)
        place = int(np.argmax([np.mean([found.mean() for found in row]) for row in hits]))
        chosen, convex = {"strength": STRENGTHS[place]}, hits[place]
    last, best = [], []
    for place, (x, y, query, truth) in enumerate(parts):
        told(fits + place, total)
        scale = Scale.of(x)
        found = sgd_hits(scale(x), y, scale(query), truth, classes=classes, seed=seed, share=share)
        last.append(found["last"])
        best.append(found["best"])
    told(total, total)
    return Judged(convex, last, best, chosen)


def linear(task: Task, judge: Callable[..., Judged] = judge) -> list[Outcome]:
    """The convex probe at its optimum, and SGD as published: its last and its best epoch.

    On validation the strength that is best on the mean over folds is the one reported: that is
    the figure to select by, and training's ``linear_val``. The best epoch of SGD is read on the
    scored part itself, as papers report it, which is no fair figure.

    Args:
        task: what is judged.
        judge: fits and scores; another one does it over workers.
    """
    sizes = {"classes": task.classes, "seed": task.seed, "tested": task.part == "test"}
    found = judge(task.rows, task.labels, task.rounds, **sizes)
    scored = [one.scored for one in task.rounds]
    last, best = zip(scored, found.last, strict=True), zip(scored, found.best, strict=True)
    convex = zip(scored, found.convex, strict=True)
    return [
        pooled("linear", "top-1", "convex", convex, chosen=found.chosen),
        pooled("linear_sgd", "top-1", "SGD, last epoch", last),
        pooled("linear_sgd_best", "top-1", "SGD, best epoch", best),
    ]


@dataclass(frozen=True)
class Scale:
    """Standardisation of features, from those that a classifier is fitted on."""

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, rows: Floats) -> Scale:
        """Take mean and deviation of rows (n, F)."""
        return cls(rows.mean(0), rows.std(0) + 1e-6)

    def __call__(self, rows: Floats) -> Floats:
        """Standardise rows (n, F)."""
        return np.asarray((rows - self.mean) / self.std, np.float32)


def sgd_hits(
    train: Floats,
    labels: Ints,
    test: Floats,
    test_labels: Ints,
    *,
    classes: int,
    seed: int = 0,
    share: Share = ALONE,
) -> dict[str, Hits]:
    """The published protocol: SGD lr 3.0, momentum 0.9, ×0.1 at epoch 80 of 100, batch 128.

    Returns:
        Which of the scored sequences are right, (n,): after the ``last`` epoch, and after the
        ``best`` one on the scored part, which papers report and which is not a fair figure where
        that part is the test split.
    """
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(train), torch.from_numpy(labels)
    query = torch.from_numpy(test)
    weight = torch.empty(classes, x.shape[1]).normal_(0, 0.01, generator=draw).requires_grad_()
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.SGD([weight, bias], lr=3.0, momentum=0.9)
    best = last = np.zeros(len(test), dtype=bool)
    for epoch in range(100):
        if epoch == 80:
            solver.param_groups[0]["lr"] = 0.3
        for rows in torch.randperm(len(x), generator=draw).split(128):
            solver.zero_grad()
            own = share.own(rows)
            scores = functional.linear(x[own], weight, bias)
            (functional.cross_entropy(scores, y[own], reduction="sum") / len(rows)).backward()
            for parameter in (weight, bias):
                assert parameter.grad is not None
                share.total(parameter.grad)
            solver.step()
        with torch.no_grad():
            guess = functional.linear(query, weight, bias).argmax(1).numpy()
        last = guess == test_labels
        if last.mean() > best.mean():
            best = last
    return {"last": last, "best": best}
