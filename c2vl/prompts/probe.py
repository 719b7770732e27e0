"""Probes how well prompts predict the action, linearly from the mean concept feature.

Labels measure prompts and never make them. The validation figure leaves out one training subject at
a time; the test subjects are scored on request only. Shapes: N sequences, D feature size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.table import ConceptTable
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Ridge penalties tried; chosen on held-out training subjects."""

LARGE = 5000
"""Sequences past which the fits of all subjects and penalties share their sums of products."""

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies, as shares of 1.

    Attributes:
        validation: mean over training subjects, each left out in turn.
        by_subject: the same for each of them.
        strength: ridge penalty with the best ``validation``.
        test: on the test part at that strength, or None when it was not asked for.
        classes: labels seen; chance is one over this.
        nearest: of the nearest neighbour by cosine, for each training subject left out; empty when
            it was not asked for.
        nearest_test: the same on the test part.
        left_out: sequences that have no prompts.
        unlabelled: others that have no class.
    """

    validation: float
    by_subject: dict[int, float]
    strength: float
    test: float | None
    classes: int
    nearest: dict[int, float] = field(default_factory=dict)
    nearest_test: float | None = None
    left_out: int = 0
    unlabelled: int = 0

    @property
    def nearest_validation(self) -> float:
        """Mean of ``nearest`` over subjects."""
        return float(np.mean(list(self.nearest.values())))


def probe(
    features: Rows,
    labels: Numbers,
    subjects: Numbers,
    train: Numbers,
    test: Numbers | None = None,
    *,
    nearest: bool = False,
) -> ProbeResult:
    """Fit ridge classifiers on unit-norm rows, centred, with one scale for all columns.

    Ridge has a closed form, so the figure is the same on every machine, within a second.

    Args:
        features: (N, D).
        subjects: (N,) performers; training ones are left out in turn.
        train: positions of the training part.
        test: positions of the test part, when its figure is wanted.
        nearest: also predict by the nearest neighbour; of 50,000 sequences that takes minutes.

    Raises:
        UserError: the training part has fewer than two subjects or classes.
    """
    groups, classes = np.unique(subjects[train]), len(np.unique(labels[train]))
    if len(groups) < 2:
        raise UserError("the probe leaves out one training subject at a time, and there is one")
    if classes < 2:
        raise UserError("the probe tells classes apart, and the training part has one")
    if len(train) > LARGE:
        table = _left_out_at_once(features[train], labels[train], subjects[train])
    else:
        table = np.zeros((len(STRENGTHS), len(groups)))
        for row, strength in zip(table, STRENGTHS, strict=True):
            for place, group in enumerate(groups):
                held = subjects[train] == group
                row[place] = _accuracy(features, labels, train[~held], train[held], strength)
    best = int(table.mean(1).argmax())
    strength, validation = STRENGTHS[best], float(table[best].mean())
    by_subject = dict(zip(groups.tolist(), table[best].tolist(), strict=True))
    figure = nearest_figure = None
    if test is not None and len(test):
        figure = _accuracy(features, labels, train, test, strength)
        nearest_figure = _nearest(features, labels, train, test) if nearest else None
    by_nearest = {}
    for group in groups if nearest else ():
        held = subjects[train] == group
        by_nearest[int(group)] = _nearest(features, labels, train[~held], train[held])
    return ProbeResult(
        validation, by_subject, strength, figure, classes, by_nearest, nearest_figure
    )


def probe_table(
    table: ConceptTable,
    store: Store,
    split_name: str,
    *,
    parts: int = 1,
    chosen: Numbers | slice = slice(None),
    test: bool = False,
    nearest: bool = False,
) -> ProbeResult:
    """Probe the mean prompt of each sequence of a store on unseen subjects.

    Sequences without prompts, or without a class, are left out, and counted.

    Args:
        split_name: which sequences are training, and which are test.
        parts: of the prompts in time, probed side by side (:meth:`ConceptTable.means`).
        chosen: the prompts that count.
        nearest: see :func:`probe`.

    Raises:
        UserError: the split does not fit the store, or too few sequences have prompts and a class.
    """
    divided = split(store.index, split_name)
    ids = [str(name) for name in store.index["id"]]
    prompted, label = table.joined(ids).present, store.index["label"].to_numpy(np.int64)
    there = prompted & (label >= 0)
    place = np.cumsum(there) - 1
    train, tested = (place[part[there[part]]] for part in (divided.train, divided.test))
    subjects = store.index["subject"].to_numpy(np.int64)[there]
    for part in ("training", "test") if test else ("training",):
        if not len(train if part == "training" else tested):
            raise UserError(
                f"{table.path}: no {part} sequence of {store.path} has prompts and a class"
            )
    kept = [name for name, seen in zip(ids, there, strict=True) if seen]
    mean = table.means(kept, parts=parts, chosen=chosen)
    asked = tested if test else None
    found = probe(mean, label[there], subjects, train, asked, nearest=nearest)
    without = int((~prompted).sum())
    return replace(found, left_out=without, unlabelled=int((~there).sum()) - without)


@dataclass(frozen=True)
class RuleWorth:
    """What the captions of one rule are worth.

    Attributes:
        rule: its name.
        sentences: captions a sequence that it writes.
        alone: the probe of its captions without any other.
        so_far: the probe of its captions and those of the rules before it.
        without: the probe of all others.
    """

    rule: str
    sentences: int
    alone: ProbeResult
    so_far: ProbeResult
    without: ProbeResult


def probe_rules(table: ConceptTable, store: Store, split_name: str) -> list[RuleWorth]:
    """Probe the captions of each rule on left-out training subjects.

    Raises:
        UserError: the table does not say which rule wrote a caption, or has one rule alone.
    """
    first = table.texts(table.ids[0])
    if "rule" not in first or first["rule"].nunique() < 2:
        raise UserError(
            f"{table.path}: does not say which rule wrote a caption; tables of `c2vl prompts "
            "kinematic --rules 6` do"
        )
    rules = first.sort_values("prompt")["rule"].to_numpy()
    found = []
    for rule in dict.fromkeys(rules):
        own = rules == rule
        so_far = np.arange(len(rules)) <= np.flatnonzero(own)[-1]
        probes = [
            probe_table(table, store, split_name, chosen=np.flatnonzero(chosen), nearest=True)
            for chosen in (own, so_far, ~own)
        ]
        found.append(RuleWorth(str(rule), int(own.sum()), *probes))
    return found


def probe_names(table: ConceptTable, *, parts: int = 1, nearest: bool = False) -> ProbeResult:
    """Probe all sequences of a table by the labels and performers in their names.

    Every performer is left out in turn; there is no test part.

    Raises:
        UserError: the names are not those of a dataset that writes them so (:data:`NAMES`).
    """
    labels, subjects = read_names(table.ids)
    everything = np.arange(len(labels))
    means = table.means(table.ids, parts=parts)
    return probe(means, labels, subjects, everything, nearest=nearest)


NAMES = (
    re.compile(r"A\d{3}N(?P<subject>\d{3})V\d{3}C(?P<label>\d{3})L\d{3}"),
    re.compile(r"S\d{3}C\d{3}P(?P<subject>\d{3})R\d{3}A(?P<label>\d{3})"),
    re.compile(r"a(?P<label>\d+)_s(?P<subject>\d+)_t\d+"),
)
"""Sequence names of PKU-MMD II, NTU RGB+D and UTD-MHAD: they contain action and performer."""


def read_names(ids: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Return labels and performers, (n,) each, of sequences named as in :data:`NAMES`.

    Raises:
        UserError: a name is of no known form.
    """
    for form in NAMES:
        found = [form.fullmatch(name) for name in ids]
        if all(found):
            facts = [(int(m["label"]), int(m["subject"])) for m in found if m is not None]
            return np.array([t[0] for t in facts]), np.array([t[1] for t in facts])
    raise UserError(
        f"the names of sequences ({ids[0]}, …) do not tell action and performer; name a STORE"
    )


def _left_out_at_once(features: Rows, labels: Numbers, subjects: Numbers) -> NDArray[np.float64]:
    """Return the accuracy on each subject, left out, at each penalty (strengths, subjects).

    What ridge regression needs of the rows to fit on are sums of products: all rows' less the
    subject's. For 57,000 rows × 768 that is one pass and an eigendecomposition a subject, where
    fitting anew for each of seven penalties took seconds each.
    """
    classes, own = np.unique(labels, return_inverse=True)
    groups = [np.flatnonzero(subjects == group) for group in np.unique(subjects)]
    sums = [_sums(features[rows], own[rows], len(classes)) for rows in groups]
    everything = [np.sum([one[part] for one in sums], axis=0) for part in range(4)]
    table = np.zeros((len(STRENGTHS), len(groups)))
    for place, (rows, held) in enumerate(zip(groups, sums, strict=True)):
        count, total_D, by_class_KD, products_DD = (
            whole - part for whole, part in zip(everything, held, strict=True)
        )
        mean_D, fitted = total_D / count.sum(), count.sum()
        centred_DD = products_DD - fitted * np.outer(mean_D, mean_D)
        values, directions = np.linalg.eigh(centred_DD)
        # Targets are 1 for the class and -1 else; what is constant in them is the intercept.
        targets_DK = directions.T @ (2 * (by_class_KD - count[:, None] * mean_D)).T
        query = (features[rows].astype(np.float64) - mean_D) @ directions
        scale = np.trace(centred_DD) / fitted / len(mean_D)  # of a column, squared
        for row, strength in zip(table, STRENGTHS, strict=True):
            scores = (query / (values + strength * scale)) @ targets_DK + 2 * count / fitted
            row[place] = (scores.argmax(1) == own[rows]).mean()
    return table


def _sums(features: Rows, labels: Numbers, classes: int) -> list[NDArray[np.float64]]:
    """Return rows of each class (K,), sums of features (D,) and by class (K, D), and products."""
    rows = features.astype(np.float64)
    by_class = np.zeros((classes, rows.shape[1]))
    np.add.at(by_class, labels, rows)
    count = np.bincount(labels, minlength=classes).astype(np.float64)
    return [count, rows.sum(0), by_class, rows.T @ rows]


def _nearest(features: Rows, labels: Numbers, fit: Numbers, score: Numbers) -> float:
    from c2vl.probes.neighbours import knn_accuracy

    return knn_accuracy(features[fit], labels[fit], features[score], labels[score])


def _accuracy(
    features: Rows, labels: Numbers, fit: Numbers, score: Numbers, strength: float
) -> float:
    from sklearn.linear_model import RidgeClassifier

    centre = features[fit].mean(axis=0)
    scale = float(np.sqrt(np.mean((features[fit] - centre) ** 2))) or 1.0
    model = RidgeClassifier(alpha=strength)
    model.fit(((features[fit] - centre) / scale).astype(np.float64), labels[fit])
    found = model.predict(((features[score] - centre) / scale).astype(np.float64))
    return float(np.mean(found == labels[score]))
