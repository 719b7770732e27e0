"""The skeleton-only artefact: save, load, embed. Needs torch, numpy and safetensors alone.

An artefact is a folder with ``encoder.safetensors`` (weights), ``encoder.json`` (the card:
architecture, joint layout, preprocessing, stream, provenance, digest of the weights),
``README.md`` (the card for people) and, where language or vision guided the training,
``concepts.safetensors`` (the maps into the concept space, for zero-shot). Raw joints go in,
features come out.

Names are fetched from their modules when they are asked for, so that what needs no torch
(:mod:`c2vl.encoder.onnx`) imports none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from c2vl.encoder.artefact import load_encoder, save_encoder
    from c2vl.encoder.network import Encoder, build, embed_clips

__all__ = ["Encoder", "build", "embed_clips", "load_encoder", "save_encoder"]

_HOMES = {
    "Encoder": "network",
    "build": "network",
    "embed_clips": "network",
    "load_encoder": "artefact",
    "save_encoder": "artefact",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"c2vl.encoder.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'c2vl.encoder' has no attribute '{name}'")
