"""The objective in NumPy, written from the formulas and not from the code that it checks."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(target: Array, logits: Array) -> float:
    total = 0.0
    for row in range(len(logits)):
        log_z = np.log(np.exp(logits[row] - logits[row].max()).sum()) + logits[row].max()
        for column in range(logits.shape[1]):
            total -= target[row, column] * (logits[row, column] - log_z)
    return total / len(logits)


def edge(
    a: Array,
    b: Array,
    *,
    tau: float,
    alpha: float,
    targets: str,
    beta: float,
    tau_intra: float,
    tau_inter: float,
    reverse_guide: str = "concept",
    forward_guide: str = "concept",
    cross: tuple[Array, Array] | None = None,
) -> float:
    """L(a, b) with teacher = the model itself."""
    n = len(a)
    there, back = np.eye(n), np.eye(n)
    intra_there = softmax((a @ a.T if forward_guide == "skeleton" else b @ b.T) / tau_intra)
    intra_back = softmax((a @ a.T if reverse_guide == "skeleton" else b @ b.T) / tau_intra)
    if cross is None:
        inter_there, inter_back = softmax(b @ a.T / tau_inter), softmax(a @ b.T / tau_inter)
    else:
        x, y = cross
        inter_there, inter_back = softmax(x @ y.T / tau_inter), softmax(y @ x.T / tau_inter)
    share = {"hard": (0.0, 0.0), "intra": (1.0, 0.0), "inter": (0.0, 1.0)}.get(
        targets, (1 - beta, beta)
    )
    if targets != "hard":
        there = (1 - alpha) * there + alpha * (share[0] * intra_there + share[1] * inter_there)
        back = (1 - alpha) * back + alpha * (share[0] * intra_back + share[1] * inter_back)
    logits = a @ b.T / tau
    return (cross_entropy(there, logits) + cross_entropy(back, logits.T)) / 2
