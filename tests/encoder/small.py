"""The smallest encoder that has every part, and sequences for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from c2vl.encoder import Encoder, build
from c2vl.encoder.concepts import ConceptSpace
from c2vl.skeletons.layout import get_layout

ARCHITECTURE = {
    "hidden": 4,
    "feature": 8,
    "temporal_kernel": 3,
    "dropout": 0.0,
    "edge_importance": True,
}


def sequences(joints: int = 25) -> list[NDArray[np.float64]]:
    draw = np.random.default_rng(0)
    return [draw.normal(size=(frames, joints, 3)) for frames in (1, 7, 40)]


def small(stream: str = "joint", frames: int = 16, joints: str = "ntu25") -> Encoder:
    torch.manual_seed(3)
    layout = get_layout(joints)
    card = {
        "layout": layout.to_dict(),
        "architecture": ARCHITECTURE,
        "preprocessing": {"frames": frames, "centre": True, "align": True},
        "stream": stream,
        "licence": "test data",
        "provenance": {"dataset": "none", "seed": 3},
    }
    maps = (torch.randn(5, 8), torch.zeros(5)), (torch.randn(5, 6), torch.zeros(5))
    spaces = {"language": ConceptSpace(*maps, "words@1")}
    return Encoder(build(layout, ARCHITECTURE), card, spaces)
