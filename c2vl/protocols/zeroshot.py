"""Zero-shot: the class whose text lies nearest in the concept space. No label is read.

Skeleton features enter the space by the head that pretraining trained (saved with the artefact), or
by a ridge map fitted on training sequences and their own captions, where an encoder has no head
(an older artefact, a supervised or a random one); which of the two is the caller's choice, never
ours. Class texts pass the same frozen text encoder and the same normalisation as the captions did.

What all class texts share is then taken out, and what all sequences share likewise: captions and
class names are different kinds of text ("the right hand moves left" against "swipe left"), and
that difference would otherwise be the largest component of either side. Means are taken over the
class texts and over the *training* sequences, so that the test part enters nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from c2vl.encoder.concepts import ConceptSpace
from c2vl.probes.neighbours import unit
from c2vl.prompts.encoders import text_encoder_of
from c2vl.prompts.table import ConceptTable
from c2vl.protocols.descriptions import read_texts
from c2vl.protocols.settings import MapSettings, ZeroShotSettings
from c2vl.protocols.task import Floats, Fold, Outcome, Task, pooled
from c2vl.support.errors import UserError, did_you_mean
from c2vl.support.remote import Location

TEMPLATES = ("{}", "a person is doing this: {}", "someone performs the action {}")
RIDGE = 1.0  # of the fitted map, on unit-variance features


def zero_shot(task: Task, settings: ZeroShotSettings) -> list[Outcome]:
    """Classify by the texts of the classes: descriptions, or their names in three templates.

    Raises:
        UserError: the encoder has no head, or no table is given for a fitted map.
    """
    described = read_texts(settings.texts) if settings.texts is not None else None
    texts = class_texts(task.store.class_names, described)
    hits = []
    for one in task.folds:
        space = concept_space(task, one, settings)
        scores = class_scores(task, one, space, texts)
        hits.append((one.scored, scores.argmax(1) == task.labels[one.scored]))
    what = "class names" if described is None else "descriptions"
    chance = 1 / len(texts)
    return [pooled("zeroshot", "top-1", f"{what}, {settings.map}", hits, chance=chance)]


def class_scores(task: Task, one: Fold, space: ConceptSpace, texts: list[list[str]]) -> Floats:
    """Cosines (scored, classes) of sequences and class texts, both about their own mean."""
    encoder = text_encoder_of(space.encoder)
    flat = [text for row in texts for text in row]
    rows = encoder.encode(flat)
    ends = np.cumsum([len(row) for row in texts])[:-1]
    means = np.stack([part.mean(0) for part in np.split(rows, ends)]).astype(np.float32)
    concepts = space.of_concepts(means)
    concepts = unit(concepts - concepts.mean(0))
    skeletons = space.of_features(task.rows[np.concatenate([one.fit, one.scored])])
    centre = skeletons[: len(one.fit)].mean(0)
    rest = skeletons[len(one.fit) :] - centre
    result: Floats = rest @ concepts.T
    return result


def class_texts(
    names: Sequence[str], described: Mapping[str, Sequence[str]] | None
) -> list[list[str]]:
    """Texts of each class, in the order of the labels.

    Raises:
        UserError: a class has no description, or a description has no class.
    """
    if described is None:
        return [[template.format(name) for template in TEMPLATES] for name in names]
    for name in described:
        if name not in names:
            raise UserError(f'texts: "{name}" is no class here{did_you_mean(name, names)}')
    without = [name for name in names if not described.get(name)]
    if without:
        raise UserError(f"texts: no description of {', '.join(without[:5])}")
    return [list(described[name]) for name in names]


def concept_space(task: Task, one: Fold, settings: MapSettings) -> ConceptSpace:
    """Return the maps of features and captions into one space: the encoder's own, or fitted ones.

    Raises:
        UserError: the encoder has no head, or no table is given for a fitted map.
    """
    return _head(task) if settings.map == "head" else _fitted(task, one, settings.concepts)


def _head(task: Task) -> ConceptSpace:
    space = task.encoder.concepts.get("language")
    if space is None:
        raise UserError(
            "this encoder keeps no map into a language space (trained without one, or "
            "by an older version); fit one on captions: --map fitted --concepts TABLE"
        )
    return space


def _fitted(task: Task, one: Fold, table: Location | None) -> ConceptSpace:
    """Ridge regression from features to the mean caption feature, on the fold's ``fit``."""
    import torch

    if table is None:
        raise UserError("a fitted map needs captions: --concepts TABLE")
    opened = ConceptTable.open(table, modality="language")
    ids = [str(name) for name in task.store.index["id"].to_numpy()[one.fit]]
    targets = opened.join(ids).mean(1).astype(np.float64)
    mean = targets.mean(0)
    targets -= mean
    targets /= np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-12)
    rows = task.rows[one.fit].astype(np.float64)
    centre, scale = rows.mean(0), rows.std(0) + 1e-6
    x: NDArray[np.float64] = (rows - centre) / scale
    weight = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ targets).T
    weight = weight / scale
    skeleton = torch.from_numpy(weight).float(), torch.from_numpy(-weight @ centre).float()
    concept = torch.eye(len(mean)), torch.from_numpy(-mean).float()
    return ConceptSpace(skeleton, concept, str(opened.manifest["model"]))
