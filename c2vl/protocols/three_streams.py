"""Three streams: late fusion of the scores of linear probes, joint, bone, motion 0.6/0.6/0.4."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from c2vl.protocols.task import Floats, Fold, Outcome, Task, pooled
from c2vl.support.errors import UserError

WEIGHTS = {"joint": 0.6, "bone": 0.6, "motion": 0.4}  # AimCLR, and those after it


def ensemble(tasks: Mapping[str, Task]) -> list[Outcome]:
    """Add the log-probabilities of each stream's convex probe, weighted.

    Log-probabilities, since probes of different strength have scores of different size.

    Args:
        tasks: stream → its encoder's task, on the same store and split.

    Raises:
        UserError: a stream is missing, or they are not about the same data.
    """
    if set(tasks) != set(WEIGHTS):
        raise UserError(
            f"ensemble: needs one encoder each of {', '.join(WEIGHTS)}; given: {', '.join(tasks)}"
        )
    first = tasks["joint"]
    if len({task.store.digest for task in tasks.values()}) != 1:
        raise UserError("ensemble: the encoders must be scored on one store")
    hits = []
    for place, one in enumerate(first.folds):
        total = np.zeros((len(one.scored), first.classes))
        for stream, task in tasks.items():
            total += WEIGHTS[stream] * _log_probabilities(task, task.folds[place])
        hits.append((one.scored, total.argmax(1) == first.labels[one.scored]))
    setting = " + ".join(f"{weight} {stream}" for stream, weight in WEIGHTS.items())
    return [pooled("ensemble", "top-1", setting, hits)]


def _log_probabilities(task: Task, one: Fold) -> Floats:
    scores = task.probe(one)[0].scores(task.rows[one.scored])
    scores = scores - scores.max(1, keepdims=True)
    result: Floats = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return result
