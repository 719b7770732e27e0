"""The encoder in PyTorch: a network with its preprocessing, raw joints in, features out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from c2vl.encoder.concepts import ConceptSpace
from c2vl.encoder.joints import Joints, clip_batches
from c2vl.model.base import Backbone
from c2vl.registry import find
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.streams import to_stream
from c2vl.support.errors import UserError

ESSENTIALS = ("layout", "architecture", "preprocessing", "stream")
"""The fields of a card that, with the weights, decide the features."""


def build(layout: JointLayout, architecture: Mapping[str, Any]) -> Backbone:
    """Return a backbone with fresh weights for a joint layout.

    Args:
        architecture: ``name`` of the backbone (ST-GCN where it is absent, as in older cards), and
            its settings.

    Raises:
        UserError: there is no such backbone, or a setting is above its ``limits``.
    """
    settings = dict(architecture)
    target = find("backbone", settings.pop("name", "stgcn")).load()
    for key, most in target.limits.items():
        if settings.get(key, 0) > most:
            raise UserError(f"architecture.{key} is above {most}")
    made: Backbone = target(layout, **settings)
    return made


def digest_of(model: nn.Module, card: Mapping[str, Any]) -> str:
    """Hash all that decides the features: weights, architecture, preprocessing, stream, layout.

    Provenance and results do not enter it.
    """
    found = hashlib.sha256(
        json.dumps({key: card[key] for key in ESSENTIALS}, sort_keys=True).encode()
    )
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


class Encoder:
    """A skeleton encoder with its preprocessing: raw joints in, features out.

    Attributes:
        model: the network, in evaluation mode.
        card: what ``encoder.json`` holds.
        concepts: the maps into each concept space by modality; empty where none were kept.
    """

    def __init__(
        self,
        model: Backbone,
        card: dict[str, Any],
        concepts: Mapping[str, ConceptSpace] | None = None,
    ) -> None:
        self.model = model.eval()
        self.card = card
        self.layout = JointLayout.from_dict(card["layout"])
        self.concepts = dict(concepts or {})

    @property
    def feature_size(self) -> int:
        """Length of a feature vector."""
        return self.model.feature

    @cached_property
    def digest(self) -> str:
        """The encoder's :func:`digest_of`."""
        return digest_of(self.model, self.card)

    def to(self, device: str | torch.device) -> Encoder:
        """Move to a device and return itself."""
        self.model.to(device)
        return self

    def embed(
        self,
        sequences: Sequence[Joints],
        batch_size: int = 64,
        *,
        layout: str | None = None,
    ) -> NDArray[np.float32]:
        """Embed raw sequences of any length.

        Args:
            sequences: each (T, V, 3) or (M, T, V, 3), metres; a body that is absent is all zero.
            layout: name of their joint layout where it is known; another one than the encoder's is
                an error, also where it has as many joints.

        Returns:
            (n, feature) float32.

        Raises:
            UserError: a sequence has another shape, layout or joint count, no frame, or a value
                that is not finite; the message names its position.
        """
        if layout is not None and layout != self.layout.name:
            raise UserError(
                f"joints are in the {layout} layout, this encoder expects {self.layout.name} "
                f"({len(self.layout.joints)} joints)"
            )
        if batch_size < 1:
            raise UserError(f"batch_size: {batch_size}; give 1 or more")
        rows = [np.empty((0, self.feature_size), np.float32)]
        preprocessing = self.card["preprocessing"]
        for x, present in clip_batches(sequences, self.layout, preprocessing, batch_size):
            rows.append(
                self.embed_clips(torch.from_numpy(x), torch.from_numpy(present), batch_size)
            )
        return np.concatenate(rows)

    def embed_clips(
        self,
        x_NMTVC: Tensor,
        present_NM: Tensor,
        batch_size: int = 256,
    ) -> NDArray[np.float32]:
        """Embed preprocessed clips (N, M, T, V, 3) to (N, feature)."""
        return embed_clips(
            self.model, x_NMTVC, present_NM, self.card["stream"], self.layout, batch_size
        )


@torch.inference_mode()
def embed_clips(
    model: Backbone,
    x_NMTVC: Tensor,
    present_NM: Tensor,
    stream: str,
    layout: JointLayout,
    batch_size: int = 256,
) -> NDArray[np.float32]:
    """Embed clips (N, M, T, V, 3) to (N, feature) in evaluation mode, then restore the mode."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows = []
    for first in range(0, len(x_NMTVC), batch_size):
        part = slice(first, first + batch_size)
        x = to_stream(x_NMTVC[part].to(device), stream, layout)
        rows.append(model(x, present_NM[part].to(device)).float().cpu())
    model.train(was_training)
    return torch.cat(rows).numpy()
