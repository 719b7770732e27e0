"""Heads between encoder and concept spaces; pretraining needs them, the exported encoder not.

Shapes: n sequences, F features, D concept dimension.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConceptHeads(nn.Module):
    """Linear maps ``W_m`` into each concept space, optional adapters, and the temperatures.

    Args:
        feature: size of the skeleton feature.
        dims: concept modality ("language", "vision") → its dimension.
        temperature: initial τ of every edge.
        learn_temperature: whether the τ are trained.
        floor: a learnt τ is kept at or above this.
        adapter: add a trainable linear adapter on each concept modality, starting as the identity.
        edges: which edges the loss uses; None: all. What belongs to no used edge is frozen, since
            DistributedDataParallel waits for a gradient of every parameter that is not.
    """

    def __init__(
        self,
        feature: int,
        dims: Mapping[str, int],
        *,
        temperature: float,
        learn_temperature: bool,
        floor: float,
        adapter: bool,
        edges: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: nn.Linear(feature, dim) for name, dim in dims.items()})
        self.adapters = nn.ModuleDict()
        if adapter:
            # One space for all adapted modalities, so that vision and language can be compared
            # also where their encoders have different dimensions.
            shared = max(dims.values())
            self.maps = nn.ModuleDict({name: nn.Linear(feature, shared) for name in dims})
            for name, dim in dims.items():
                linear = nn.Linear(dim, shared, bias=False)
                nn.init.eye_(linear.weight)
                self.adapters[name] = linear
        self.least = float(torch.tensor(math.log(floor)))  # as a parameter holds it
        between = [f"skeleton_{name}" for name in dims]
        if len(dims) > 1:
            between.append("vision_language")
        used = set(between if edges is None else edges)
        self.log_temperature = nn.ParameterDict(
            {
                edge: nn.Parameter(
                    torch.tensor(math.log(temperature)),
                    requires_grad=learn_temperature and edge in used,
                )
                for edge in between
            }
        )
        for name in dims:
            self.maps[name].requires_grad_(f"skeleton_{name}" in used)

    def project(self, features_nF: Tensor) -> dict[str, Tensor]:
        """Map skeleton features to unit rows (n, D) in each concept space."""
        return {name: functional.normalize(head(features_nF)) for name, head in self.maps.items()}

    def adapt(self, concepts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pass unit concept rows (n, D) through their adapters, if there are any."""
        return {
            name: functional.normalize(self.adapters[name](rows_nD)) if self.adapters else rows_nD
            for name, rows_nD in concepts.items()
        }

    def temperature(self, edge: str) -> Tensor:
        """Return τ of an edge, a scalar tensor at (rounding aside) or above the floor."""
        # A clamp of τ itself passes no gradient where exp rounds to below the floor.
        value: Tensor = self.log_temperature[edge].clamp_min(self.least).exp()
        return value

    @torch.no_grad()
    def keep_floor(self) -> None:
        """Raise learnt temperatures to the floor; call this after each optimizer step."""
        for value in self.log_temperature.values():
            if value.requires_grad:
                value.clamp_(min=self.least)
