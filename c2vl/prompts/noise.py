"""Wrong pairs of sequence and prompts: made on purpose, to measure with, and found by data alone.

The paper takes its pairs for noisy; these two functions, which are ours, let that be tested.

Shapes: N sequences, P prompts a sequence, D feature size, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError

Kind = Literal["swapped", "generic", "dropped", "frames"]

FRAMES = 16
"""Of the clips whose joints are compared."""
NEIGHBOURS = 10
SHUFFLED = 20_000
"""Scores of shuffled pairs to compare with, or as many as there are pairs."""


def corrupt(
    table: ConceptTable, out: Path, *, kind: Kind, share: float, seed: int, overwrite: bool = False
) -> ConceptTable:
    """Copy a table with known noise; the manifest says in which rows (``settings.corrupted``).

    The seed alone chooses the rows, so that ``dropped`` is what an oracle would leave of the table
    that another kind with the same share and seed spoils.

    Args:
        table: what is copied.
        out: the folder to make.
        kind: ``swapped`` gives a chosen sequence the prompts of another chosen one; ``frames`` half
            of them; ``generic`` those of the sequence nearest the table's mean; ``dropped`` none.
        share: of the sequences, 0..1.
        overwrite: replace a table at ``out``.

    Raises:
        UserError: fewer than two sequences are chosen, none would be left, half of one prompt is
            asked, or the table is corrupted already.
    """
    if "corrupted" in table.manifest["settings"]:
        raise UserError(
            f"{table.path}: is corrupted already, and which rows are wrong would no longer be "
            "known; corrupt the table that it was made from"
        )
    if kind == "frames" and table.prompts_per_sample < 2:
        raise UserError(
            f"--kind frames: {table.path} has one prompt a sequence, and half of them is none; "
            "swapped replaces it"
        )
    number = len(table.ids)
    chosen = np.random.default_rng(seed).permutation(number)[: round(share * number)]
    if len(chosen) < 2 or (kind == "dropped" and len(chosen) == number):
        raise UserError(f"--share: {share:g} chooses {len(chosen)} of {number} sequences")
    source_NP = _own(table)
    if kind == "generic":
        mean_ND = table.means(table.ids)
        source_NP[chosen] = int((mean_ND @ mean_ND.mean(0)).argmax())
    elif kind != "dropped":
        wrong = slice(1, None, 2) if kind == "frames" else slice(None)
        source_NP[chosen, wrong] = np.roll(chosen, 1)[:, None]
    names = [table.ids[row] for row in np.sort(chosen)]
    kept = np.setdiff1d(np.arange(number), chosen) if kind == "dropped" else np.arange(number)
    facts = {"kind": kind, "share": share, "seed": seed, "rows": names}
    return _copy(
        table, out, kept, source_NP, {"corrupted": facts}, rejected="dropped", overwrite=overwrite
    )


@dataclass(frozen=True)
class Fit:
    """How well captions fit those of sequences that move alike.

    Attributes:
        ids: the N training sequences with prompts.
        near: (N, k) the nearest raw skeletons of each, numbers within ``ids``.
        score: (N,) cosine of a caption with the mean of those of the k nearest skeletons.
        wrong: (N,) probability that the pair is wrong.
        share: estimate of the share of wrong pairs.
        auc: of the score for the pairs that the manifest knows to be wrong; None where it knows
            none or all.
    """

    ids: list[str]
    near: NDArray[np.int64]
    score: NDArray[np.float64]
    wrong: NDArray[np.float64]
    share: float
    auc: float | None

    @property
    def doubted(self) -> NDArray[np.int64]:
        """Numbers of the pairs that fit worst, as many as are estimated to be wrong."""
        return self.score.argsort(kind="stable")[: round(self.share * len(self.ids))]


def fit(store: Store, table: ConceptTable, *, split_name: str = "xsub") -> Fit:
    """Score the pairs of a training part; no label and no test sequence is used.

    Raises:
        UserError: too few training sequences have prompts.
    """
    from sklearn.metrics import roc_auc_score

    from c2vl.objective.reliability import like_shuffled  # torch: only now

    ids, train = _with_prompts(store, table, split_name)
    caption_ND, near = _whitened(table.means(ids)), _nearest(store, train)
    mean_ND = np.zeros_like(caption_ND)
    for neighbour in near.T:
        mean_ND += caption_ND[neighbour]
    mean_ND /= np.linalg.norm(mean_ND, axis=1, keepdims=True).clip(1e-12)
    score = (mean_ND * caption_ND).sum(1).astype(np.float64)
    draw = np.random.default_rng(0)
    orders = [draw.permutation(len(ids)) for _ in range(-(-SHUFFLED // len(ids)))]
    shuffled = np.concatenate([(mean_ND * caption_ND[order]).sum(1) for order in orders])
    wrong, share = like_shuffled(score, shuffled.astype(np.float64))
    known = set(table.manifest["settings"].get("corrupted", {}).get("rows", ()))
    truth = np.array([name in known for name in ids])
    auc = float(roc_auc_score(truth, -score)) if 0 < truth.sum() < len(ids) else None
    return Fit(ids, near, score, wrong, share, auc)


def keep_fitting(
    table: ConceptTable, out: Path, found: Fit, *, overwrite: bool = False
) -> ConceptTable:
    """Copy a table without as many of the worst fitting pairs as are estimated to be wrong.

    Sequences outside the training part are kept: nobody trains on them.

    Raises:
        UserError: no training pair would be left.
    """
    names = [found.ids[number] for number in _some(table, found)]
    kept = np.setdiff1d(np.arange(len(table.ids)), table.places(names))
    facts = {"filtered": {"neighbours": NEIGHBOURS, "share": round(found.share, 4)}}
    why = "caption unlike those of its nearest skeletons"
    return _copy(table, out, kept, _own(table), facts, rejected=why, overwrite=overwrite)


def soften(table: ConceptTable, out: Path, found: Fit, *, overwrite: bool = False) -> ConceptTable:
    """Copy a table with each training pair softened to the degree in which it looks wrong.

    The target of a pair is ``T_i = (1 - α_i) I_i + α_i Q_i``: α_i is the probability that it is
    wrong, and Q_i the k nearest raw skeletons, each weighted by the probability that its own pair
    is right. The table holds the concept that is to be expected of it, ``Σ_j T_ij m_j``, so that
    both directions of the contrast have it, and neighbours outside the batch count. Texts stay.
    Where no neighbour is believed all of them count alike: the pair is no righter than they are.

    Raises:
        UserError: no training pair is believed.
    """
    _some(table, found)
    places = table.places(found.ids)
    features = table.features.astype(np.float32)
    own_NPD, right_N = features[places], 1 - found.wrong.astype(np.float32)
    right_Nk = right_N[found.near]
    right_Nk[right_Nk.sum(1) <= 1e-6] = 1
    mean_NPD = np.zeros_like(own_NPD)
    for neighbour, weight in zip(found.near.T, right_Nk.T, strict=True):
        mean_NPD += weight[:, None, None] * own_NPD[neighbour]
    mean_NPD /= right_Nk.sum(1)[:, None, None]
    alpha_N = found.wrong[:, None, None]
    features[places] = (1 - alpha_N) * own_NPD + alpha_N * mean_NPD
    every, source_NP = np.arange(len(table.ids)), _own(table)
    facts = {"softened": {"neighbours": NEIGHBOURS, "share": round(found.share, 4)}}
    return _copy(
        table, out, every, source_NP, facts, features=features, rejected="", overwrite=overwrite
    )


def averaged(
    store: Store,
    table: ConceptTable,
    out: Path,
    *,
    split_name: str = "xsub",
    overwrite: bool = False,
) -> ConceptTable:
    """Copy a table with the prompts of training sequences averaged over the nearest skeletons.

    What raw joints alone put into a table: with random captions below (``corrupt`` with a share of
    1) it is the reference that captions which mean something have to pass. Texts stay the own ones.

    Raises:
        UserError: too few training sequences have prompts.
    """
    ids, train = _with_prompts(store, table, split_name)
    places, features = table.places(ids), table.features.astype(np.float32)
    own = features[places]
    mean = np.mean([own[near] for near in _nearest(store, train).T], axis=0)
    features[places] = mean / np.linalg.norm(mean, axis=2, keepdims=True).clip(1e-12)
    every, source_NP = np.arange(len(table.ids)), _own(table)
    facts = {"averaged": {"neighbours": NEIGHBOURS, "split": split_name}}
    return _copy(
        table, out, every, source_NP, facts, features=features, rejected="", overwrite=overwrite
    )


def _some(table: ConceptTable, found: Fit) -> NDArray[np.int64]:
    """Return which pairs are doubted.

    Raises:
        UserError: all of them are.
    """
    if len(found.doubted) == len(found.ids):
        raise UserError(
            f"{table.path}: no training pair would be left, all {len(found.ids)} fit no better "
            "than shuffled ones; look at the texts (`c2vl prompts inspect`)"
        )
    return found.doubted


def _own(table: ConceptTable) -> NDArray[np.int64]:
    """Return for each sequence and prompt that it is the sequence's own, (N, P)."""
    return np.repeat(np.arange(len(table.ids))[:, None], table.prompts_per_sample, axis=1)


def _with_prompts(
    store: Store, table: ConceptTable, split_name: str
) -> tuple[list[str], NDArray[np.int64]]:
    """Return names and positions of the training sequences that have prompts."""
    train = split(store.index, split_name).train
    names = store.index["id"].astype(str).to_numpy()
    train = train[table.places(names[train].tolist()) >= 0]
    if len(train) < 2 * NEIGHBOURS:
        raise UserError(
            f"{table.path}: {len(train)} training sequences have prompts; the fit of a caption to "
            f"those of its {NEIGHBOURS} nearest skeletons needs {2 * NEIGHBOURS}"
        )
    return names[train].tolist(), train


def _whitened(rows_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit rows, centred and with the principal directions scaled to equal variance.

    Captions share large components, which say nothing of a pair. Directions of less than a tenth
    of the largest variance are scaled as one of a tenth, since the last ones are noise.
    """
    rows_ND = rows_ND - rows_ND.mean(0)
    values, directions = np.linalg.eigh(rows_ND.T @ rows_ND)
    rows_ND = rows_ND @ (directions / np.sqrt(np.maximum(values, values[-1] / 10).clip(1e-12)))
    unit: NDArray[np.float32] = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True).clip(1e-12)
    return unit


def _nearest(store: Store, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the k nearest raw skeletons of each sequence among the same, without itself."""
    from sklearn.neighbors import NearestNeighbors

    clips = load_clips(store, frames=FRAMES, centre=True, align=True)
    rows = clips.tensors(positions)[0].flatten(1).numpy()
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(rows)
    found: NDArray[np.int64] = nearest.kneighbors(return_distance=False)
    return found


def _copy(
    table: ConceptTable,
    out: Path,
    kept: NDArray[np.int64],
    source_NP: NDArray[np.int64],
    facts: dict[str, Any],
    *,
    features: NDArray[np.float32] | None = None,
    rejected: str,
    overwrite: bool,
) -> ConceptTable:
    """Write the kept rows of a table with prompts, or texts alone, taken from ``source_NP``."""
    old, prompts = table.manifest, table.prompts_per_sample
    if not len(kept):
        raise UserError(f"{table.path}: no pair would be left")
    index = table.texts()
    flat = (source_NP[kept] * prompts + np.arange(prompts)).ravel()
    moved = index.iloc[flat].drop(columns=["id", "prompt", "text"]).reset_index(drop=True)
    texts = index["text"].to_numpy()[flat].reshape(len(kept), prompts).tolist()
    if features is None:
        features = table.features[source_NP[kept], np.arange(prompts)[None]].astype(np.float32)
    gone = np.setdiff1d(np.arange(len(table.ids)), kept)
    reasons = [(table.ids[row], rejected) for row in gone]
    before = table.path / "rejected.csv"
    if before.is_file():
        rows = pd.read_csv(before, dtype=str)
        reasons = [*zip(rows["id"], rows["reason"], strict=True), *reasons]
    return write_table(
        out,
        [table.ids[row] for row in kept],
        features,
        modality=table.modality,
        model=str(old["model"]),
        texts=texts,
        columns=moved if len(moved.columns) else None,
        rejected=reasons,
        store=str(old["store"]),
        source=str(old["source"]),
        settings=old["settings"] | facts,
        overwrite=overwrite,
    )
