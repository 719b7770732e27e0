"""Retrieval of motions by text and of texts by motion, in the settings of TMR.

Petrovich, Black and Varol, "TMR: Text-to-Motion Retrieval Using Contrastive 3D Human Motion
Synthesis" (ICCV 2023): each scored motion and its first caption, R@1, 5 and 10 and the median rank

* among all;
* among all, where a caption that is nearly equal to the wanted one counts as right as well;
* within batches of 32, drawn once, an incomplete one left out.

Their "dissimilar subset" is a list of ids and so a split of its own. Equal similarities share the
mean of their ranks. Features and captions enter the concept space as for zero-shot; nothing else is
fitted, and no label is read.

Shapes: Q pairs, K concept space.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.probes.neighbours import unit
from c2vl.prompts.table import ConceptTable
from c2vl.protocols.settings import RetrievalSettings
from c2vl.protocols.task import Floats, Ints, Outcome, Task
from c2vl.protocols.units import MEDIAN_RANK
from c2vl.protocols.zeroshot import concept_space
from c2vl.support.errors import UserError

AT = (1, 5, 10)
BATCH = 32
_ROWS = 1024  # queries compared at a time
Ranks = NDArray[np.float64]


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
    found: dict[str, list[tuple[Ints, Ranks]]] = {}
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
        draw = np.random.default_rng(0).permutation(len(one.scored))
        batches = draw[: len(draw) // BATCH * BATCH].reshape(-1, BATCH)
        for way, ask, answer in (("t2m", texts_QK, motions_QK), ("m2t", motions_QK, texts_QK)):
            kept = found.setdefault(f"{way} all", [])
            kept.append((one.scored, ranks(ask, answer)))
            kept = found.setdefault(f"{way} near-equal texts", [])
            kept.append((one.scored, ranks(ask, answer, alike_QD, 2 * settings.threshold - 1)))
            kept = found.setdefault(f"{way} batches of {BATCH}", [])
            for rows in batches:
                kept.append((one.scored[rows], ranks(ask[rows], answer[rows])))
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
        equal_q = (near_qQ == best_q1).sum(1)
        result[rows] = (near_qQ > best_q1).sum(1) + (equal_q + 1) / 2
    return result


def _outcomes(name: str, parts: list[tuple[Ints, Ranks]]) -> list[Outcome]:
    way, _, setting = name.partition(" ")
    words = {"t2m": "text to motion", "m2t": "motion to text"}[way]
    positions = np.concatenate([at for at, _ in parts])
    found = np.concatenate([rank for _, rank in parts])
    short = {"all": "", "near-equal texts": "_near"}.get(setting, "_batch")
    key, setting = f"{way}{short}", f"{words}, {setting}"
    outcomes = [
        Outcome(f"{key}_r{k}", f"R@{k}", setting, positions, (found <= k).astype(np.float64))
        for k in AT
    ]
    return [*outcomes, Outcome(f"{key}_medr", MEDIAN_RANK, setting, positions, found)]
