"""Settings of our own optimizers."""

from __future__ import annotations

from pydantic import Field

from c2vl.config.experiment import OptimSettings


class SGDSettings(OptimSettings):
    """SGD as in the CrosSCLR/AimCLR lineage."""

    momentum: float = Field(0.9, ge=0, lt=1, description="0 turns nesterov off too")
    nesterov: bool = Field(True, description="look ahead along the momentum")


class AdamWSettings(OptimSettings):
    """AdamW; it wants lr near 0.003 and weight_decay 0.01."""
