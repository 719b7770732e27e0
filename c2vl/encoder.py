"""The skeleton-only artefact: save, load, embed. Needs torch, numpy and safetensors alone.

An artefact is a folder with ``encoder.safetensors`` (weights), ``encoder.json`` (the card:
architecture, joint layout, preprocessing, stream, provenance, digest of the weights) and
``README.md`` (the card for people). Raw joints go in, features come out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from c2vl.errors import UserError
from c2vl.model.graph import spatial_partition
from c2vl.model.stgcn import STGCN
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.preprocess import preprocess
from c2vl.skeletons.streams import to_stream

FORMAT = "c2vl-encoder"
VERSION = 1
WEIGHTS, CARD, README = "encoder.safetensors", "encoder.json", "README.md"


def build(layout: JointLayout, architecture: dict[str, Any]) -> STGCN:
    """Return an ST-GCN with fresh weights for a joint layout.

    Args:
        layout: gives the graph.
        architecture: the settings of :class:`c2vl.config.ModelSettings`, by name.
    """
    adjacency = torch.from_numpy(spatial_partition(layout.parents, layout.centre))
    return STGCN(adjacency, **architecture)


class Encoder:
    """A skeleton encoder with its preprocessing: raw joints in, features out.

    Attributes:
        model: the network, in evaluation mode.
        card: what ``encoder.json`` holds.
        layout: the joint layout that sequences must have.
    """

    def __init__(self, model: STGCN, card: dict[str, Any]) -> None:
        self.model = model.eval()
        self.card = card
        self.layout = JointLayout.from_dict(card["layout"])

    @property
    def feature_size(self) -> int:
        """Length of a feature vector."""
        return self.model.feature

    def to(self, device: str | torch.device) -> Encoder:
        """Move to a device and return itself."""
        self.model.to(device)
        return self

    def embed(
        self, sequences: Sequence[NDArray[np.floating[Any]]], batch_size: int = 64
    ) -> NDArray[np.float32]:
        """Embed raw sequences of any length.

        Args:
            sequences: each (T, V, 3) or (M, T, V, 3), metres; a body that is absent is all zero.
            batch_size: sequences a forward pass.

        Returns:
            (n, feature) float32.

        Raises:
            UserError: a sequence has another shape or joint count, no frame, or a value that is not
                finite; the message names its position.
        """
        if not sequences:
            return np.empty((0, self.feature_size), np.float32)
        clips = [self._clip(index, joints) for index, joints in enumerate(sequences)]
        bodies = max(clip.shape[0] for clip in clips)
        x = np.zeros((len(clips), bodies, *clips[0].shape[1:]), np.float32)
        present = np.zeros((len(clips), bodies), dtype=bool)
        for row, clip in enumerate(clips):
            x[row, : len(clip)] = clip
            present[row, : len(clip)] = True
        return self.embed_clips(torch.from_numpy(x), torch.from_numpy(present), batch_size)

    def embed_clips(
        self,
        x_NMTVC: Tensor,
        present_NM: Tensor,
        batch_size: int = 256,
    ) -> NDArray[np.float32]:
        """Embed sequences that are preprocessed already, (N, M, T, V, 3), to (N, feature)."""
        return embed_clips(
            self.model, x_NMTVC, present_NM, self.card["stream"], self.layout, batch_size
        )

    def _clip(self, index: int, joints: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        joints = np.asarray(joints)
        if joints.ndim == 3:
            joints = joints[None]
        wanted = len(self.layout.joints)
        if joints.ndim != 4 or joints.shape[2:] != (wanted, 3) or 0 in joints.shape:
            raise UserError(
                f"sequence {index}: expected joints of shape (frames, {wanted}, 3) or (bodies, "
                f"frames, {wanted}, 3) in the {self.layout.name} layout, found {joints.shape}"
            )
        if not np.isfinite(joints).all():
            raise UserError(f"sequence {index}: has values that are not finite; clean it first")
        kept = joints[np.abs(joints).sum(axis=(1, 2, 3)) > 0]
        if not len(kept):
            raise UserError(f"sequence {index}: no body in it (all joints are zero)")
        return preprocess(kept.astype(np.float32), self.layout, **self.card["preprocessing"])


@torch.inference_mode()
def embed_clips(
    model: STGCN,
    x_NMTVC: Tensor,
    present_NM: Tensor,
    stream: str,
    layout: JointLayout,
    batch_size: int = 256,
) -> NDArray[np.float32]:
    """Features of preprocessed clips in evaluation mode; the model's mode is put back after."""
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


def save_encoder(folder: Path, model: STGCN, card: dict[str, Any]) -> None:
    """Write the artefact to ``folder``, all of it or nothing.

    Args:
        folder: is made; an artefact that is there already is replaced.
        model: the network whose weights are written.
        card: layout, architecture, preprocessing, stream, provenance; format, version and digest
            are put in here.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        weights = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
        save_file(weights, partial / WEIGHTS)
        digest = hashlib.sha256((partial / WEIGHTS).read_bytes()).hexdigest()
        full = {**card, "format": FORMAT, "version": VERSION, "weights_sha256": digest}
        (partial / CARD).write_text(json.dumps(full, indent=2), encoding="utf-8")
        (partial / README).write_text(describe(full), encoding="utf-8")
        partial.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            os.replace(folder, old / "artefact")
            os.replace(partial, folder)
            shutil.rmtree(old)
        else:
            os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load_encoder(folder: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Load an artefact.

    Args:
        folder: holds ``encoder.safetensors`` and ``encoder.json``.
        device: where to put the weights.

    Raises:
        UserError: a file is missing or altered, or of a version that this code does not know.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: no such file; an encoder is a folder with {CARD} and {WEIGHTS}, "
            "made by `c2vl train` or `c2vl export`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{folder / CARD}: cannot be read: {error}") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{folder / CARD}: not the card of an encoder (format {FORMAT})")
    if card.get("version") != VERSION:
        raise UserError(
            f"{folder / CARD}: version {card.get('version')} is unknown here (this code reads "
            f"{VERSION}); install the release that wrote it"
        )
    if hashlib.sha256(data).hexdigest() != card.get("weights_sha256"):
        raise UserError(f"{folder / WEIGHTS}: altered or cut short (its digest is not the card's)")
    try:
        model = build(JointLayout.from_dict(card["layout"]), card["architecture"])
        model.load_state_dict(load_file(folder / WEIGHTS))
        encoder = Encoder(model, card)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: the card and the weights disagree: {error}") from None
    return encoder.to(device)


def describe(card: dict[str, Any]) -> str:
    """Return the card as Markdown for people."""
    origin = card.get("provenance", {})
    figures = card.get("figures", {})
    lines = [
        "# A skeleton encoder trained by C²VL",
        "",
        f"- joints: {len(card['layout']['joints'])} ({card['layout']['name']} layout), metres",
        f"- stream: {card['stream']}; preprocessing: {card['preprocessing']}",
        f"- architecture: ST-GCN {card['architecture']}",
        f"- weights: SHA-256 `{card['weights_sha256']}`",
        *(f"- {name}: {value}" for name, value in origin.items() if not isinstance(value, dict)),
        "",
        "```python",
        "import c2vl",
        'encoder = c2vl.load_encoder("this/folder")',
        "features = encoder.embed([joints])  # (T, V, 3) or (M, T, V, 3) → (1, "
        f"{card['architecture']['feature']})",
        "```",
    ]
    if figures:
        lines += ["", "Measured on held-out training subjects, never on the test part:", ""]
        lines += [f"- {name}: {value:.4f}" for name, value in figures.items()]
    return "\n".join(lines) + "\n"
