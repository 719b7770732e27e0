"""Linear evaluation on frozen features: a convex probe run to its optimum, and SGD as published.

The convex probe (multinomial logistic regression, L2) is the reproducible figure: it has one
optimum, found by L-BFGS, and its regularisation is chosen on folds of the training groups. The SGD
probe follows the lineage (lr 3.0, no weight decay, ×0.1 at epoch 80 of 100, batch 128).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from c2vl.protocols.task import Outcome, Task, pooled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# L2 strengths per sample on standardised features, strong to weak, so that each starts warm.
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


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

    def hits(self, features: Floats, labels: Ints) -> NDArray[np.bool_]:
        """Which top-1 predictions are right, (n,)."""
        right: NDArray[np.bool_] = self.scores(features).argmax(1) == labels
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
    iterations: int = 300,
) -> list[Probe]:
    """Fit a probe for each strength, each started from the one before.

    Minimises ``mean CE + strength/2 · ||W||² / F`` over standardised features in float64, to a
    gradient of 1e-6.

    Args:
        features: (n, F).
        labels: (n,) integers in 0..classes-1.
        classes: number of classes.
        strengths: descending.
        iterations: at most so many L-BFGS iterations a strength.
    """
    x = torch.from_numpy(features).double()
    y = torch.from_numpy(labels)
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / scale
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    probes = []
    for strength in strengths:
        penalty = strength / 2 / x.shape[1]
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=iterations,
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure(solver: torch.optim.LBFGS = solver, penalty: float = penalty) -> float:
            solver.zero_grad()
            with torch.enable_grad():
                loss = functional.cross_entropy(functional.linear(x, weight, bias), y)
                loss = loss + penalty * weight.square().sum()
                loss.backward()
            return float(loss.detach())

        solver.step(closure)
        probes.append(Probe(mean, scale, weight.detach().clone(), bias.detach().clone(), strength))
    return probes


def fold_accuracies(
    features: Floats, labels: Ints, fold: Ints, *, classes: int, only: Ints | None = None
) -> NDArray[np.float64]:
    """Accuracy of each strength on each fold, by probes fitted on the other folds.

    Args:
        features: (n, F).
        labels: (n,).
        fold: (n,) fold numbers.
        classes: number of classes.
        only: folds to score; all if None.

    Returns:
        (folds, strengths).
    """
    rows = []
    for number in np.unique(fold) if only is None else only:
        held = fold == number
        probes = fit_path(features[~held], labels[~held], classes=classes)
        rows.append([probe.accuracy(features[held], labels[held]) for probe in probes])
    return np.array(rows)


def fit_chosen(features: Floats, labels: Ints, fold: Ints, *, classes: int) -> tuple[Probe, float]:
    """Fit on all rows with the strength that is best on the mean over folds.

    Returns:
        The probe and its mean accuracy over the folds, 0..1.
    """
    mean = fold_accuracies(features, labels, fold, classes=classes).mean(0)
    best = int(mean.argmax())  # the first of equals is the strongest
    probes = fit_path(features, labels, classes=classes, strengths=STRENGTHS[: best + 1])
    return probes[-1], float(mean[best])


def linear(task: Task) -> list[Outcome]:
    """The convex probe at its optimum, and SGD as published: its last and its best epoch.

    On validation the strength that is best on the mean over folds is the one reported: that is
    the figure to select by, and training's ``linear_val``. The best epoch of SGD is read on the
    scored part itself, as papers report it, which is no fair figure.
    """
    x, y = task.rows, task.labels
    convex, last, best = [], [], []
    chosen = {}
    if task.part == "test":
        (only,) = task.rounds
        probe, on_folds = fit_chosen(*task.known(only.fit), only.inner, classes=task.classes)
        chosen = {"strength": probe.strength, "validation": on_folds}
        convex.append((only.scored, probe.hits(x[only.scored], y[only.scored])))
    else:
        paths = [fit_path(*task.known(one.fit), classes=task.classes) for one in task.rounds]
        hits = [
            [probe.hits(x[one.scored], y[one.scored]) for probe in path]
            for one, path in zip(task.rounds, paths, strict=True)
        ]
        table = np.array([[found.mean() for found in row] for row in hits])
        place = int(table.mean(0).argmax())
        chosen = {"strength": STRENGTHS[place]}
        convex = [(one.scored, row[place]) for one, row in zip(task.rounds, hits, strict=True)]
    for one in task.rounds:
        scale = Scale.of(x[one.fit])
        found = sgd_hits(
            *(scale(x[one.fit]), y[one.fit], scale(x[one.scored]), y[one.scored]),
            classes=task.classes,
            seed=task.seed,
        )
        last.append((one.scored, found["last"]))
        best.append((one.scored, found["best"]))
    return [
        pooled("linear", "top-1", "convex", convex, chosen=chosen),
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
    train: Floats, labels: Ints, test: Floats, test_labels: Ints, *, classes: int, seed: int = 0
) -> dict[str, NDArray[np.bool_]]:
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
            loss = functional.cross_entropy(functional.linear(x[rows], weight, bias), y[rows])
            loss.backward()
            solver.step()
        with torch.no_grad():
            guess = functional.linear(query, weight, bias).argmax(1).numpy()
        last = guess == test_labels
        if last.mean() > best.mean():
            best = last
    return {"last": last, "best": best}
