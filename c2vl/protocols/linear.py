"""The linear protocol: the convex probe at its optimum, and SGD as published."""

from __future__ import annotations

from typing import Any

import numpy as np

from c2vl.probes.linear import (
    SGD_EPOCHS,
    STRENGTHS,
    counting,
    hits_by_strength,
    most_fits,
    sgd_hits,
)
from c2vl.protocols.task import Outcome, Task, pooled
from c2vl.support.progress import progress


def linear(task: Task) -> list[Outcome]:
    """Score the convex probe, and the SGD probe after its last and its best epoch.

    On the test part the convex probe's strength is chosen on inner folds. On validation the
    strength that is best on the mean over folds is the one reported: that is the figure to select
    by, and training's ``linear_val``. The best epoch of SGD is chosen on the scored part itself,
    as papers report it, which is no fair figure.
    """
    folds = task.folds
    how: Any = {"classes": task.classes, "device": task.device}
    parts = [(*task.known(one.fit), *task.known(one.scored)) for one in folds]
    tested = task.part == "test"
    fits = most_fits(folds[0].inner) if tested else len(folds) * len(STRENGTHS)
    with progress("probes") as shown:
        fitted = counting(shown, fits)
        if tested:
            (only,), ((*_, query, truth),) = folds, parts
            probe, on_folds = task.probe(only, fitted)
            chosen = {"strength": probe.strength, "validation": on_folds}
            convex = [probe.hits(query, truth)]
        else:
            table = hits_by_strength(parts, fitted=fitted, **how)
            best = int(np.argmax([np.mean([hits.mean() for hits in row]) for row in table]))
            chosen, convex = {"strength": STRENGTHS[best]}, table[best]
    with progress("SGD epochs") as shown:
        passed = counting(shown, SGD_EPOCHS * len(parts))
        sgd = [sgd_hits(*part, seed=task.seed, passed=passed, **how) for part in parts]
    scored = [one.scored for one in folds]
    last, best_epoch = ([hits[name] for hits in sgd] for name in ("last", "best"))
    return [
        pooled("linear", "top-1", "convex", zip(scored, convex, strict=True), chosen=chosen),
        pooled("linear_sgd", "top-1", "SGD, last epoch", zip(scored, last, strict=True)),
        pooled("linear_sgd_best", "top-1", "SGD, best epoch", zip(scored, best_epoch, strict=True)),
    ]
