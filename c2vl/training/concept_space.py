"""The maps into the concept space as they stand after training, for the artefact."""

from __future__ import annotations

import torch
from torch import Tensor

from c2vl.encoder.concepts import ConceptSpace
from c2vl.model.heads import ConceptHeads
from c2vl.prompts.table import ConceptTable
from c2vl.training.batches import TrainingSet, normalise


@torch.no_grad()
def concept_spaces(source: TrainingSet, heads: ConceptHeads) -> dict[str, ConceptSpace]:
    """Return the maps of each modality that guided the training.

    Args:
        source: gives the tables and how their features were normalised.
        heads: the trained maps, and adapters where there are any.
    """
    spaces = {}
    for modality, folder in source.experiment.concept_tables().items():
        assert folder is not None, "checked with the settings"
        table = ConceptTable.open(folder)
        ids = [str(name) for name in source.store.index["id"].to_numpy()[source.split.train]]
        seen = source.pretrain[table.joined(ids).present[source.pretrain]]
        raw = torch.from_numpy(table.join([ids[row] for row in seen]))
        weight, bias = _affine(raw, source.experiment.prompts.normalise)
        if heads.adapters:
            adapter = heads.adapters[modality].state_dict()["weight"].cpu()
            weight, bias = adapter @ weight, adapter @ bias
        head = {
            name: value.cpu().clone() for name, value in heads.maps[modality].state_dict().items()
        }
        spaces[modality] = ConceptSpace(
            (head["weight"], head["bias"]),
            (weight, bias),
            str(table.manifest["model"]),
        )
    return spaces


def _affine(reference: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Weight (D, D) and bias (D) of a normalisation: it is affine, so D + 1 points give it."""
    dim = reference.shape[2]
    points = torch.cat([torch.zeros(1, dim), torch.eye(dim)])
    images = normalise(points[:, None], how, reference)[:, 0]
    return (images[1:] - images[0]).t().contiguous(), images[0].clone()
