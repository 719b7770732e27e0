"""The trained maps into the concept spaces, in the form that the artefact stores."""

from __future__ import annotations

import torch
from torch import Tensor

from c2vl.encoder.concepts import ConceptSpace
from c2vl.objective.base import Objective
from c2vl.prompts.table import ConceptTable
from c2vl.training.batches import TrainingSet, normalise


@torch.no_grad()
def concept_spaces(source: TrainingSet, objective: Objective) -> dict[str, ConceptSpace]:
    """Return the maps of each modality that guided the training.

    Args:
        source: gives the tables and how their features were normalised.
        objective: the trained one.
    """
    spaces = {}
    for modality, (head, bias, adapter) in objective.concept_maps().items():
        folder = source.experiment.concept_tables()[modality]
        assert folder is not None, "checked with the settings"
        table = ConceptTable.open(folder)
        ids = [str(name) for name in source.store.index["id"].to_numpy()[source.split.train]]
        seen = source.pretrain[table.joined(ids).present[source.pretrain]]
        raw = torch.from_numpy(table.join([ids[row] for row in seen]))
        concept = _affine(raw, source.experiment.prompts.normalise)
        if adapter is not None:
            concept = (adapter.cpu() @ concept[0], adapter.cpu() @ concept[1])
        skeleton = (head.cpu().clone(), bias.cpu().clone())
        spaces[modality] = ConceptSpace(skeleton, concept, str(table.manifest["model"]))
    return spaces


def _affine(reference: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Weight (D, D) and bias (D) of a normalisation: it is affine, so D + 1 points give it."""
    dim = reference.shape[2]
    points = torch.cat([torch.zeros(1, dim), torch.eye(dim)])
    images = normalise(points[:, None], how, reference)[:, 0]
    return (images[1:] - images[0]).t().contiguous(), images[0].clone()
