"""Settings of our own backbones."""

from __future__ import annotations

from pydantic import Field, field_validator

from c2vl.config.experiment import ModelSettings


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("temporal_kernel must be odd, so that a convolution keeps T")
    return kernel


class STGCNSettings(ModelSettings):
    """ST-GCN of the CrosSCLR/AimCLR lineage (hidden 16, feature 256; 64 is the original width)."""

    hidden: int = Field(16, ge=4, le=256, description="channels of the first stage, then ×2, ×4")
    feature: int = Field(256, ge=8, le=4096, description="feature size")
    temporal_kernel: int = Field(9, ge=1, le=31, description="odd length of temporal convolutions")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout inside ST-GCN blocks")
    edge_importance: bool = Field(True, description="learnable edge weights")

    _odd = field_validator("temporal_kernel")(_odd)


class CTRGCNSettings(ModelSettings):
    """CTR-GCN (the paper's: hidden 64, feature 256, kernel 5)."""

    hidden: int = Field(
        16, ge=4, le=256, multiple_of=4, description="channels of the first stage, then ×2, ×4"
    )
    feature: int = Field(256, ge=8, le=4096, multiple_of=4, description="feature size")
    temporal_kernel: int = Field(5, ge=1, le=31, description="odd length of dilated convolutions")

    _odd = field_validator("temporal_kernel")(_odd)
