"""The trained maps into the concept spaces, in the form that the artefact stores."""

from __future__ import annotations

import torch

from c2vl.encoder.concepts import ConceptSpace
from c2vl.objective.base import Objective
from c2vl.training.batches import TrainingSet


@torch.no_grad()
def concept_spaces(source: TrainingSet, objective: Objective) -> dict[str, ConceptSpace]:
    """Return the maps of each modality that guided the training.

    Args:
        source: gives the tables and how their features were normalised.
        objective: the trained one.
    """
    spaces = {}
    for modality, (head, bias, adapter) in objective.concept_maps().items():
        rows = source.concepts[modality]
        concept = rows.normalisation.affine()
        if adapter is not None:
            concept = (adapter.cpu() @ concept[0], adapter.cpu() @ concept[1])
        skeleton = (head.cpu().clone(), bias.cpu().clone())
        spaces[modality] = ConceptSpace(skeleton, concept, str(rows.table.manifest["model"]))
    return spaces
