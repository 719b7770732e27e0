"""Settings of our own augmentations."""

from __future__ import annotations

from pydantic import Field

from c2vl.config.experiment import AugmentSettings


class GeometricSettings(AugmentSettings):
    """Crop, turn, shear and more; mild, since C²VL avoids breaking the skeleton."""

    crop_padding: float = Field(
        1 / 6, ge=0, le=0.5, description="temporal crop: reflect-pad this share of T on both sides"
    )
    shear: float = Field(0.5, ge=0, le=2, description="off-diagonal shear drawn in ±this (AimCLR)")
    rotation: float = Field(
        0.3, ge=0, le=3.1416, description="rotation about each axis drawn in ±this, radians"
    )
    noise: float = Field(0.0, ge=0, le=1, description="std of Gaussian joint noise, metres")
    scale: float = Field(0.0, ge=0, lt=1, description="body size factor drawn in 1 ± this")
    mirror: float = Field(0.0, ge=0, le=1, description="probability of a left-right mirror")
    joint_mask: float = Field(0.0, ge=0, lt=1, description="probability of zeroing a joint")


class ExtremeSettings(GeometricSettings):
    """Extreme augmentations of AimCLR (Guo et al., AAAI 2022); each probability is a sample's."""

    rotation: float = Field(
        0.5, ge=0, le=3.1416, description="rotation about each axis drawn in ±this, radians"
    )
    noise: float = Field(0.01, ge=0, le=1, description="std of Gaussian joint noise, metres")
    mirror: float = Field(0.5, ge=0, le=1, description="probability of a left-right mirror")
    reverse: float = Field(0.5, ge=0, le=1, description="probability of reversed time")
    blur: float = Field(0.5, ge=0, le=1, description="probability of a Gaussian blur over time")
    axis_mask: float = Field(0.5, ge=0, le=1, description="probability of zeroing an axis")
