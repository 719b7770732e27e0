"""The concept space that an encoder was trained towards, for zero-shot and search by text.

Each modality has two affine maps into it: ``skeleton`` from skeleton features (the head W_m of
pretraining), ``concept`` from the frozen vision-language encoder's features (the normalisation over
the training part, then the adapter where there was one). Both yield unit rows. Shapes: n rows, F
skeleton features, D features of the frozen encoder, K dimensions of the space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from c2vl.support.errors import UserError

Floats = NDArray[np.float32]
_PARTS = ("skeleton.weight", "skeleton.bias", "concept.weight", "concept.bias")


@dataclass(frozen=True)
class ConceptSpace:
    """The maps of one modality.

    Attributes:
        skeleton: weight (K, F) and bias (K,).
        concept: weight (K, D) and bias (K,).
        encoder: identity of the frozen encoder whose features ``concept`` takes.
    """

    skeleton: tuple[Tensor, Tensor]
    concept: tuple[Tensor, Tensor]
    encoder: str

    def of_features(self, features: Floats) -> Floats:
        """Return unit rows (n, K) of skeleton features (n, F)."""
        return _mapped(features, *self.skeleton)

    def of_concepts(self, rows: Floats) -> Floats:
        """Return unit rows (n, K) of the frozen encoder's features (n, D), or of their means."""
        return _mapped(rows, *self.concept)


def _mapped(rows: Floats, weight: Tensor, bias: Tensor) -> Floats:
    out = functional.linear(torch.from_numpy(np.asarray(rows, np.float32)), weight, bias)
    result: Floats = functional.normalize(out, dim=1).numpy()
    return result


def to_tensors(spaces: Mapping[str, ConceptSpace]) -> dict[str, Tensor]:
    """Name the tensors of all modalities, as ``concepts.safetensors`` holds them."""
    named: dict[str, Tensor] = {}
    for modality, space in spaces.items():
        for part, value in zip(_PARTS, (*space.skeleton, *space.concept), strict=True):
            named[f"{modality}.{part}"] = value.detach().cpu().float().contiguous()
    return named


def from_tensors(
    named: Mapping[str, Tensor], described: Mapping[str, Any], feature: int
) -> dict[str, ConceptSpace]:
    """Read what :func:`to_tensors` wrote.

    Args:
        described: the card's ``concepts``: modality → {"encoder": identity, …}.

    Raises:
        UserError: tensors are missing, left over, or do not fit each other.
    """
    wanted = {f"{modality}.{part}" for modality in described for part in _PARTS}
    if wanted != set(named):
        raise UserError(f"concepts: the card and the maps disagree on {wanted ^ set(named)}")
    spaces = {}
    for modality, about in described.items():
        a, b, c, d = (named[f"{modality}.{part}"] for part in _PARTS)
        shared = (a.ndim, c.ndim) == (2, 2) and len({a.shape[0], *b.shape, c.shape[0], *d.shape})
        if shared != 1 or a.shape[1] != feature:
            raise UserError(f"concepts.{modality}: the shapes of its maps do not fit the encoder")
        spaces[modality] = ConceptSpace((a, b), (c, d), str(about["encoder"]))
    return spaces
