"""Named train and test parts, and folds of the training part for selection.

A split is a rule on a column of the index (``xsub60``), a list that came with the data
(``split_xsub`` in the index), groups of a column (``subject:1,3,5``), one subject left out
(``loso:3``), or a CSV file of a user's own.
Validation is always cut from the training part, by :func:`folds`: subjects (or cameras, set-ups)
are sorted and dealt round robin; nothing of the test part enters it.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.store import SPLIT_PREFIX, Columns
from c2vl.support.errors import UserError, not_by_commas, not_utf8

if TYPE_CHECKING:
    import pandas as pd

Positions = NDArray[np.int64]
Table = Union["pd.DataFrame", Columns]
"""A store's index, or its columns."""

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
class Rule:
    """A split that a dataset's paper defines by a column.

    Attributes:
        short: what people call it: "xsub", "xview", "xset".
        column: of the index.
        in_train: values → which of them are in the training part.
        datasets: readers that it is for.
        official: sequences of the training and test part of the complete dataset, where known.
    """

    short: str
    column: Literal["subject", "camera", "setup"]
    in_train: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
    datasets: tuple[str, ...]
    official: tuple[int, int] | None = None


def _among(groups: tuple[int, ...]) -> Callable[[NDArray[np.int64]], NDArray[np.bool_]]:
    return lambda values: np.isin(values, groups)


RULES = {
    "xsub60": Rule("xsub", "subject", _among(XSUB60_TRAIN), ("ntu60", "demo"), (40_091, 16_487)),
    "xview60": Rule("xview", "camera", _among((2, 3)), ("ntu60", "demo"), (37_646, 18_932)),
    "xsub120": Rule("xsub", "subject", _among(XSUB120_TRAIN), ("ntu120", "demo"), (63_026, 50_919)),
    "xset120": Rule("xset", "setup", lambda s: s % 2 == 0, ("ntu120", "demo"), (54_468, 59_477)),
    "utd_xsub": Rule("xsub", "subject", _among((1, 3, 5, 7)), ("utd-mhad",), (431, 430)),
    "ucla_xview": Rule("xview", "camera", _among((1, 2)), ("nw-ucla",), (1_020, 464)),
    "demo_xsub": Rule("xsub", "subject", lambda s: s % 2 == 1, ("demo",)),
}
_LEAVE_OUT = "loso:"
_FEW = 40  # groups that an example can name
_GROUPS = re.compile(r"(subject|camera|setup):(\d+(?:,\d+)*)")


def split_names(index: Table) -> list[str]:
    """Return the full names of the splits that a store has, rules first, then given lists."""
    dataset = index.attrs.get("reader")
    rules = [name for name, rule in RULES.items() if dataset is None or dataset in rule.datasets]
    given = [
        name.removeprefix(SPLIT_PREFIX) for name in map(str, index) if name.startswith(SPLIT_PREFIX)
    ]
    return rules + given


def split(index: Table, name: str) -> Split:
    """Divide a store into its train and test parts.

    Args:
        index: a store's index; ``index.attrs["reader"]``, which ``Store.open`` sets, says which
            dataset it is.
        name: a full name (``xsub60``); ``xsub``, ``xview``, ``xset`` for the dataset's own;
            ``loso:N`` to leave subject N out; ``subject:1,3,5`` (or camera, setup) to train on
            these and test on the others; or a CSV file with columns ``id`` and ``part``
            (train, test, or empty).

    Returns:
        The split. Its parts are disjoint; those of a rule together hold every sequence.

    Raises:
        UserError: the name is not known, belongs to another dataset, or leaves a part empty.
    """
    if name.startswith(_LEAVE_OUT):
        return _leave_out(index, name)
    if name.startswith(("subject:", "camera:", "setup:")):
        return _grouped(index, name)
    if name.endswith(".csv"):
        return _listed(name, _read_parts(index, Path(name)))
    if SPLIT_PREFIX + name in index:
        return _listed(name, np.asarray(index[SPLIT_PREFIX + name]))
    dataset = index.attrs.get("reader")
    known = split_names(index)
    own = [full for full in known if full in RULES and RULES[full].short == name]
    if dataset is not None and own:
        # the demo set follows several datasets' naming; its own rule is meant
        name = own[-1]
    if name not in known:
        own = sorted({RULES[full].short for full in known if full in RULES})
        others = {*RULES, *(rule.short for rule in RULES.values())}
        near = difflib.get_close_matches(name, [*own, *known], n=1)
        if near and name not in others:
            raise UserError(f'data.split: "{name}" is not known; did you mean "{near[0]}"?')
        why = f"not for {dataset or 'this'}" if name in others else "not known"
        can = ", ".join([*own, *known, *offered(index), "a CSV file (columns id, part)"])
        raise UserError(f'data.split: "{name}" is {why}; it can be {can}')
    rule = RULES[name]
    values = _column(index, name, rule.column)
    return _both(name, rule.in_train(values), rule.column, values)


def _leave_out(index: Table, name: str) -> Split:
    number = name.removeprefix(_LEAVE_OUT)
    if not number.isdigit():
        raise UserError(f'data.split: "{name}" should be like loso:3, a subject\'s number')
    values = _column(index, name, "subject")
    return _both(name, values != int(number), "subject", values)


def _grouped(index: Table, name: str) -> Split:
    match = _GROUPS.fullmatch(name)
    if match is None:
        raise UserError(
            f'data.split: "{name}" should be like subject:1,3,5, the groups to train on'
        )
    values = _column(index, name, match[1])
    wanted = [int(number) for number in match[2].split(",")]
    if unknown := sorted(set(wanted) - set(values)):
        listed = ", ".join(map(str, unknown))
        raise UserError(f'data.split: "{name}": this store has no {match[1]} {listed}')
    return _both(name, np.isin(values, wanted), match[1], values)


def offered(index: Table) -> list[str]:
    """Return splits that any store's own columns allow, beside named ones, as examples.

    One subject left out, and every second group to train on.
    """
    found = []
    for column in ("subject", "camera", "setup"):
        groups = np.unique(index[column])
        if len(groups) > 1 and groups[0] >= 0:
            if column == "subject":
                found.append(f"{_LEAVE_OUT}{groups[0]}")
            if len(groups) <= _FEW:
                found.append(f"{column}:{','.join(map(str, groups[::2]))}")
    return found


def _column(index: Table, name: str, column: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = np.asarray(index[column])
    if (values < 0).any():
        raise UserError(f'data.split: "{name}" needs the {column} of every sequence')
    return values


def _both(name: str, train: NDArray[np.bool_], column: str, values: NDArray[np.int64]) -> Split:
    """Return the split whose test part is all that is not for training."""
    for part, chosen in (("training", train), ("test", ~train)):
        if not chosen.any():
            seen = ", ".join(map(str, np.unique(values)[:20]))
            raise UserError(
                f'data.split: "{name}" leaves the {part} part empty: this store has {column} '
                f"{seen} alone"
            )
    return Split(name, np.flatnonzero(train), np.flatnonzero(~train))


def _listed(name: str, parts: NDArray[np.object_]) -> Split:
    both = Split(name, np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))
    for part, positions in (("train", both.train), ("test", both.test)):
        if not len(positions):
            raise UserError(f'data.split: "{name}" has no sequence of this store under {part}')
    return both


def _read_parts(index: Table, path: Path) -> NDArray[np.object_]:
    """Return the part of each sequence by a CSV file.

    Raises:
        UserError: it cannot be read, names a sequence twice or one that the store does not have.
    """
    places = {str(name): place for place, name in enumerate(index["id"])}
    parts = np.full(len(index["id"]), "", dtype=object)
    seen: set[str] = set()
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if not {"id", "part"} <= set(columns := rows.fieldnames or ()):
            raise UserError(
                f"{path}: the first line must name the columns id and part{not_by_commas(columns)}"
            )
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            name, part = str(row["id"]).strip(), str(row["part"] or "").strip()
            if part not in ("train", "test", ""):
                raise UserError(f'{where}: part is "{part}", expected train or test')
            if name not in places:
                raise UserError(f'{where}: no sequence of the store is named "{name}"')
            if name in seen:
                raise UserError(f'{where}: "{name}" is listed twice')
            seen.add(name)
            parts[places[name]] = part
    except UnicodeDecodeError as error:
        raise UserError(f"data.split: {path}{not_utf8(error)}") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"data.split: {path} cannot be read: {error}") from None
    return parts


def folds(
    index: Table,
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
    values = np.asarray(index[by])[positions]
    groups, ranks = np.unique(values, return_inverse=True)
    if (groups < 0).any():
        others = [
            other
            for other in ("subject", "camera", "setup")
            if other != by and (np.asarray(index[other])[positions] >= 0).all()
        ]
        hint = f"; group by {' or '.join(others)} instead" if others else ""
        raise UserError(f"data.validation_by: the {by} of some sequences is not known{hint}")
    if len(groups) < k:
        raise UserError(
            f"{k} folds need as many groups, and the training part has {len(groups)} ({by} "
            f"{', '.join(map(str, groups))}); lower data.validation_folds (--folds of a command), "
            "or group by something else (data.validation_by, --by)"
        )
    return (ranks % k).astype(np.int64)
