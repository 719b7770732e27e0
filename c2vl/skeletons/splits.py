"""Named train and test parts, and folds of the training part for selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.errors import UserError, did_you_mean

Positions = NDArray[np.int64]

# fmt: off
XSUB60_TRAIN = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
XSUB120_TRAIN = (
    *XSUB60_TRAIN, 45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83,
    84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103,
)
# fmt: on


@dataclass(frozen=True)
class Split:
    """Positions in a store's index, ascending.

    Attributes:
        name: the full name of the split (``xsub`` resolved to the dataset's).
        train: positions of the training part.
        test: positions of the test part.
    """

    name: str
    train: Positions
    test: Positions


@dataclass(frozen=True)
class _Rule:
    column: Literal["subject", "camera", "setup"]
    in_train: Callable[[pd.Series[int]], pd.Series[bool]]
    datasets: tuple[str, ...]


_RULES = {
    "xsub60": _Rule("subject", lambda s: s.isin(XSUB60_TRAIN), ("ntu60", "demo")),
    "xview60": _Rule("camera", lambda s: s.isin((2, 3)), ("ntu60", "demo")),
    "xsub120": _Rule("subject", lambda s: s.isin(XSUB120_TRAIN), ("ntu120", "demo")),
    "xset120": _Rule("setup", lambda s: s % 2 == 0, ("ntu120", "demo")),
    "utd_xsub": _Rule("subject", lambda s: s.isin((1, 3, 5, 7)), ("utd-mhad",)),
    "demo_xsub": _Rule("subject", lambda s: s % 2 == 1, ("demo",)),
}
_SHORT = {
    "xsub": {"ntu60": "xsub60", "ntu120": "xsub120", "utd-mhad": "utd_xsub", "demo": "demo_xsub"},
    "xview": {"ntu60": "xview60"},
    "xset": {"ntu120": "xset120"},
}
NAMES = (*_RULES, *_SHORT)


def split(index: pd.DataFrame, name: str) -> Split:
    """Divide a store into its train and test parts.

    Args:
        index: a store's index; ``index.attrs["reader"]``, which ``Store.open`` sets, says which
            dataset it is.
        name: a full name (``xsub60``), or ``xsub``, ``xview``, ``xset`` for the dataset's own.

    Returns:
        The split; together its parts hold every sequence once.

    Raises:
        UserError: the name is not known, belongs to another dataset, or leaves a part empty.
    """
    dataset = index.attrs.get("reader")
    if name not in NAMES:
        raise UserError(f'data.split: "{name}" is not known{did_you_mean(name, NAMES)}')
    if name in _SHORT:
        if dataset not in _SHORT[name]:
            raise UserError(f'data.split: "{name}" has no meaning for {dataset or "this index"}')
        name = _SHORT[name][dataset]
    rule = _RULES[name]
    if dataset is not None and dataset not in rule.datasets:
        fitting = [other for other, one in _RULES.items() if dataset in one.datasets]
        raise UserError(f'data.split: "{name}" is not for {dataset}; it has {", ".join(fitting)}')
    values = index[rule.column]
    if (values < 0).any():
        raise UserError(f'data.split: "{name}" needs the {rule.column} of every sequence')
    in_train = rule.in_train(values).to_numpy(dtype=bool)
    parts = Split(name, np.flatnonzero(in_train), np.flatnonzero(~in_train))
    for part, positions in (("training", parts.train), ("test", parts.test)):
        if not len(positions):
            seen = sorted(int(value) for value in values.unique())
            raise UserError(
                f'data.split: "{name}" leaves the {part} part empty: this store has {rule.column} '
                f"{', '.join(map(str, seen[:20]))} alone"
            )
    return parts


def folds(
    index: pd.DataFrame,
    positions: Positions,
    *,
    by: Literal["subject", "camera", "setup"],
    k: int,
) -> Positions:
    """Number the sequences at ``positions`` by folds that keep each group whole.

    The groups, sorted, are dealt round robin: with four subjects and k = 2 the folds are
    subjects 1, 5 and 3, 7.

    Args:
        index: a store's index.
        positions: which sequences (a training part).
        by: the column that groups them.
        k: the number of folds.

    Returns:
        (len(positions),) fold numbers 0..k-1.

    Raises:
        UserError: there are fewer groups than folds, or the groups are unknown.
    """
    values = index[by].to_numpy()[positions]
    groups, ranks = np.unique(values, return_inverse=True)
    if (groups < 0).any():
        raise UserError(f"data.validation_by: the {by} of some sequences is not known")
    if len(groups) < k:
        raise UserError(
            f"data.validation_folds: {k} folds need as many groups, and the training part has "
            f"{len(groups)} ({by} {', '.join(map(str, groups))}); lower it or change validation_by"
        )
    return (ranks % k).astype(np.int64)
