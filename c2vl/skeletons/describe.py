"""A store in words and bars, for a terminal."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from c2vl.skeletons.joint_names import roles
from c2vl.skeletons.rejected import read_rejected
from c2vl.skeletons.splits import RULES, folds, offered, split, split_names
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError

_BINS = 10
_BAR = 40
_FOLDS = 4  # the default of data.validation_folds


def show(store: Store, console: Console | None = None) -> None:
    """Print counts, classes, subjects, what is missing, and the distribution of lengths."""
    console = console or Console()
    console.print(_head(store))
    console.print(_classes(store))
    lengths = store.index["frames"].to_numpy()
    console.print(_histogram("frames", "lengths", lengths))
    subjects = store.index["subject"]
    if (subjects >= 0).all():
        console.print(_bars("subject", subjects.value_counts().sort_index()))
    for line in _losses(store):
        console.print(line, markup=False, highlight=False)


def _head(store: Store) -> Table:
    index, counts, source = store.index, store.manifest["counts"], store.manifest["source"]
    head = Table(title=f"{store.manifest['dataset']}  ({store.path})", show_header=False)
    head.add_row("source", str(source.get("path", source.get("generator"))))
    left_out = f", {counts['left_out']} left out" if counts["left_out"] else ""
    head.add_row("sequences", f"{counts['sequences']} ({counts['rejected']} rejected{left_out})")
    head.add_row("bodies", f"{counts['one_body']} with one, {counts['two_bodies']} with two")
    lengths = index["frames"]
    head.add_row(
        "frames", f"{lengths.min()} to {lengths.max()}, median {lengths.median():g} a sequence"
    )
    head.add_row("joints", f"{len(store.layout.joints)} ({store.layout.name})")
    for column in ("subject", "camera", "setup", "replication"):
        values = [int(value) for value in np.unique(index[column])]
        listed = ", ".join(map(str, values[:20])) + (" …" if len(values) > 20 else "")
        head.add_row(column + "s", "not known" if values == [-1] else f"{len(values)}: {listed}")
    head.add_row("missing values", _missing(store))
    head.add_row("stored as", f"{store.manifest['settings']['dtype']}, {_size(store)}")
    head.add_row("default split", str(store.manifest["default_split"]) or "none")
    head.add_row("checksum", store.digest[:16])
    return head


def _missing(store: Store) -> str:
    index = store.index
    said = [
        f"{unknown} without {column}"
        for column in ("label", "subject", "camera")
        if 0 < (unknown := int((index[column] < 0).sum())) < len(index)
    ]
    absent = total = still = 0
    for position in np.flatnonzero(index["bodies"].to_numpy() > 1):
        there = store.joints(int(position)).any(axis=(2, 3))
        absent += int((~there).sum())
        total += there.size
    if total:
        said.append(f"of sequences with two bodies, {100 * absent / total:.1f} % of body frames")
    still = int((index["frames"] == 1).sum())
    if still:
        said.append(f"{still} of one frame")
    return "; ".join(said) or "none"


def _size(store: Store) -> str:
    return f"{(store.data / 'joints.npy').stat().st_size / 1e6:.1f} MB"


def _classes(store: Store) -> Table:
    classes = Table("label", "class", "sequences", "two bodies", "median frames")
    for label, group in store.index.groupby("label"):
        number = int(str(label))
        name = store.class_names[number] if number >= 0 else "not known"
        two = int((group["bodies"] == 2).sum())
        median = f"{group['frames'].median():g}"
        classes.add_row(str(number), name, str(len(group)), str(two), median)
    return classes


def _histogram(column: str, title: str, values: NDArray[np.int64]) -> Table:
    histogram, edges = np.histogram(values, bins=_BINS)
    names = [f"{a:.0f} to {b:.0f}" for a, b in itertools.pairwise(edges)]
    return _bars(column, pd.Series(histogram, index=names), title)


def _bars(column: str, counts: pd.Series[int], title: str | None = None) -> Table:
    bars = Table(column, "sequences", "", title=title or f"{column}s")
    most = max(int(counts.max()), 1)
    for name, count in counts.items():
        bars.add_row(str(name), str(count), "█" * round(_BAR * int(count) / most))
    return bars


def _losses(store: Store) -> list[str]:
    """Return what preparing decided, and why files did not become sequences."""
    lines = [
        f"{name}: {counts['times']} in {counts['sequences']} sequences"
        for name, counts in store.manifest["decisions"].items()
    ]
    reasons = Counter(
        ("left out" if one.left_out else "rejected", one.reason.split(":")[0])
        for one in read_rejected(store.data / "rejected.csv")
    )
    lines += [f"{count} {how}: {reason}" for (how, reason), count in reasons.most_common(8)]
    return lines


def missing_later(store: Store) -> list[str]:
    """Return all that later steps will miss in a store, each in a line with its remedy."""
    index = store.index
    lines = []
    if lacking := roles(store.layout.joints)[1]:
        lines.append(
            f"captions from motion need {', '.join(lacking)}, and no joint of layout "
            f"{store.layout.name} has such a name; name them so, or bring captions of your own"
        )
    if (index["label"] < 0).all():
        lines.append("there are no classes: no accuracy is reported, and protocols need labels")
    elif (unknown := int((index["label"] < 0).sum())) or index["label"].nunique() < 2:
        said = f"{unknown} sequences have no class" if unknown else "there is one class alone"
        lines.append(f"{said}: no accuracy can be measured")
    groups = {by: index[by] for by in ("subject", "setup", "camera") if (index[by] >= 0).all()}
    most = max((values.nunique() for values in groups.values()), default=0)
    if most < 2:
        lines.append(
            "nothing says who was recorded: training selects on folds of subjects (or cameras, "
            "set-ups); give the column subject in sequences.csv"
        )
    elif most <= _FOLDS:
        by = next(by for by, values in groups.items() if values.nunique() == most)
        lines.append(
            f"{most} groups ({by}): a training part of fewer needs a lower data.validation_folds "
            f"than {_FOLDS}"
        )
    if not split_names(index):
        names = offered(index)
        some = f"such as {', '.join(names)}" if names else "a CSV file (columns id and part)"
        lines.append(f"no split came with the data: choose one for data.split, {some}")
    return lines


def show_splits(store: Store, extra: str | None = None, console: Console | None = None) -> None:
    """Print every split of a store: its parts, the official counts, the folds for selection.

    Raises:
        UserError: ``extra`` (a CSV file, ``loso:N``) is no split of this store.
    """
    table = Table(
        "split", "train", "test", "official counts", f"validation: {_FOLDS} folds of train by"
    )
    names = split_names(store.index) or offered(store.index)
    if extra is not None:
        split(store.index, extra)
        names.append(extra)
    for name in names:
        try:
            parts = split(store.index, name)
        except UserError as error:
            table.add_row(name, "–", "–", str(error).partition(": ")[2], "")
            continue
        sizes = (len(parts.train), len(parts.test))
        table.add_row(
            _called(store, name),
            *map(str, sizes),
            _official(name, sizes, store),
            _folds(store, parts.train),
        )
    console = console or Console()
    console.print(table)
    if not split_names(store.index):
        unknown = "nothing says who was recorded: give subject, camera, setup in sequences.csv, or"
        shown = "any store has subject:…, camera:…, setup:… (to train on these), loso:N and"
        lines = (shown if names else unknown, "FILE.csv with the columns id and part")
        console.print("\n".join(lines), markup=False, highlight=False)


def _called(store: Store, name: str) -> str:
    """Return a split's name, and the short one that means the same for this dataset."""
    rule = RULES.get(name)
    if rule is None or split(store.index, rule.short).name != name:
        return name
    return f"{name}, or {rule.short}"


def _official(name: str, sizes: tuple[int, int], store: Store) -> str:
    rule = RULES.get(name)
    if rule is None or rule.official is None or store.index.attrs["reader"] == "demo":
        return "none known"
    if sizes == rule.official:
        return "the same"
    return f"{rule.official[0]} and {rule.official[1]}: this is not the complete dataset"


def _folds(store: Store, train: NDArray[np.int64]) -> str:
    for by in ("subject", "setup", "camera"):
        try:
            numbers = folds(store.index, train, by=by, k=_FOLDS)
        except UserError:
            continue
        return f"{by}: {', '.join(map(str, np.bincount(numbers, minlength=_FOLDS)))}"
    return f"no column has {_FOLDS} groups"
