"""Retrieval of motions by text and of texts by motion, in the settings of TMR.

Petrovich, Black and Varol, "TMR: Text-to-Motion Retrieval Using Contrastive 3D Human Motion
Synthesis" (ICCV 2023): each scored motion and its first caption, R@1, 5 and 10 and the median rank

* among all;
* among all, where a caption that is nearly equal to the wanted one counts as right as well;
* within batches of 32, drawn once, an incomplete one left out.

Their "dissimilar subset" is a list of ids and so a split of its own. Where similarities are equal,
a rank is its mean over the orders of the equal ones. Features and captions enter the concept space
as for zero-shot; nothing else is fitted, and no label is read.

Chance is what motions and captions score that are paired at random: each rank is then equally
likely where one answer is right; where several are, pairs are shuffled, since captions that are
alike stand together in any order.

Shapes: Q pairs, K concept space, D text features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.probes.neighbours import unit
from c2vl.prompts.table import ConceptTable
from c2vl.protocols.settings import RetrievalSettings
from c2vl.protocols.task import Floats, Ints, Outcome, Task
from c2vl.protocols.zeroshot import concept_space
from c2vl.support.errors import UserError
from c2vl.support.tables import MEDIAN_RANK

AT = (1, 5, 10)
BATCH = 32
SHUFFLES = 8
_ROWS = 1024  # queries compared at a time
Ranks = NDArray[np.float64]
Part = tuple[Ints, Ranks, Ranks]
"""Positions of queries, their ranks, and ranks that are equally likely by chance."""


def retrieval(task: Task, settings: RetrievalSettings) -> list[Outcome]:
    """Return recalls and median ranks of both directions in the three settings.

    Raises:
        UserError: no table is given, it was made with another text encoder than the map, or the
            map is missing.
    """
    if settings.concepts is None:
        raise UserError("retrieval needs the captions of the store: --concepts TABLE")
    table = ConceptTable.open(settings.concepts, modality="language")
    ids = task.store.index["id"].astype(str).to_numpy()
    found: dict[str, list[Part]] = {}
    for one in task.folds:
        space = concept_space(task, one, settings)
        if space.encoder != str(table.manifest["model"]):
            raise UserError(
                f"--concepts {settings.concepts}: made with {table.manifest['model']}, and the map "
                f"with {space.encoder}; encode the captions with the same"
            )
        captions_QD = np.asarray(table.join(ids[one.scored].tolist())[:, 0], np.float32)
        texts_QK = space.of_concepts(captions_QD)
        motions_QK = space.of_features(task.rows[one.scored])
        alike_QD = unit(captions_QD)
        draw, count = np.random.default_rng(0), len(one.scored)
        order = draw.permutation(count)
        batches = order[: count // BATCH * BATCH].reshape(-1, BATCH)
        shuffled = [draw.permutation(count) for _ in range(SHUFFLES)]
        near = alike_QD, 2 * settings.threshold - 1
        for way, ask, answer in (("t2m", texts_QK, motions_QK), ("m2t", motions_QK, texts_QK)):
            kept = found.setdefault(f"{way} all", [])
            kept.append((one.scored, ranks(ask, answer), np.arange(1.0, count + 1)))
            kept = found.setdefault(f"{way} near-equal texts", [])
            guessed = np.concatenate([ranks(ask[rows], answer, *near) for rows in shuffled])
            kept.append((one.scored, ranks(ask, answer, *near), guessed))
            kept = found.setdefault(f"{way} batches of {BATCH}", [])
            for rows in batches:
                own = ranks(ask[rows], answer[rows])
                kept.append((one.scored[rows], own, np.arange(1.0, BATCH + 1)))
    return [outcome for name, parts in found.items() if parts for outcome in _outcomes(name, parts)]


def ranks(
    ask_QK: Floats, answer_QK: Floats, alike_QD: Floats | None = None, least: float = 1.0
) -> Ranks:
    """Return the rank, from 1, of the best right answer to each query; row i answers query i.

    Args:
        alike_QD: unit rows of captions; answers whose captions have a cosine above ``least`` with
            the query's are right as well.
    """
    result = np.empty(len(ask_QK))
    for start in range(0, len(ask_QK), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(ask_QK)))
        near_qQ = ask_QK[rows] @ answer_QK.T
        right_qQ = rows[:, None] == np.arange(len(answer_QK))
        if alike_QD is not None:
            right_qQ |= alike_QD[rows] @ alike_QD.T > least
        best_q1 = np.where(right_qQ, near_qQ, -np.inf).max(1, keepdims=True)
        equal_qQ = near_qQ == best_q1
        first_q = (equal_qQ.sum(1) + 1) / ((equal_qQ & right_qQ).sum(1) + 1)
        result[rows] = (near_qQ > best_q1).sum(1) + first_q
    return result


def _outcomes(name: str, parts: list[Part]) -> list[Outcome]:
    way, _, setting = name.partition(" ")
    words = {"t2m": "text to motion", "m2t": "motion to text"}[way]
    positions, found, guessed = (np.concatenate(each) for each in zip(*parts, strict=True))
    short = {"all": "", "near-equal texts": "_near"}.get(setting, "_batch")
    key, setting = f"{way}{short}", f"{words}, {setting}"
    outcomes = []
    for k in AT:
        hits, chance = (found <= k).astype(np.float64), float((guessed <= k).mean())
        outcomes.append(Outcome(f"{key}_r{k}", f"R@{k}", setting, positions, hits, chance=chance))
    middle = float(np.median(guessed))
    return [
        *outcomes,
        Outcome(f"{key}_medr", MEDIAN_RANK, setting, positions, found, chance=middle),
    ]
