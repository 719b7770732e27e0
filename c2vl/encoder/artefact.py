"""Writes and reads artefacts; an altered, truncated or foreign one ends in one message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from c2vl.encoder import concepts as maps
from c2vl.encoder.card import CARD, FORMAT, VERSION, WEIGHTS, describe, read_card, read_sealed
from c2vl.encoder.concepts import ConceptSpace
from c2vl.encoder.ledger import replacing_encoder
from c2vl.encoder.network import ESSENTIALS, Encoder, build, digest_of
from c2vl.encoder.sources import find as find_artefact
from c2vl.model.base import Backbone
from c2vl.registry import find
from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError


class MissingPart(UserError):
    """An encoder needs a backbone that is not registered here."""


README, CONCEPTS = "README.md", "concepts.safetensors"


def save_encoder(
    folder: Path,
    model: Backbone,
    card: Mapping[str, Any],
    concepts: Mapping[str, ConceptSpace] | None = None,
    *,
    counted: Iterable[Path] = (),
) -> None:
    """Write the artefact to ``folder``, all of it or nothing.

    Args:
        folder: created, or replaced but for its count of test scorings.
        card: layout, architecture, preprocessing, stream, provenance; format, version, feature
            size and digests are put in here.
        counted: folders with test scorings of this encoder, which come along.
    """
    with replacing_encoder(folder, digest_of(model, card), counted) as partial:
        write_artefact(partial, model, card, concepts)


def write_artefact(
    folder: Path,
    model: Backbone,
    card: Mapping[str, Any],
    concepts: Mapping[str, ConceptSpace] | None = None,
) -> None:
    """Write the artefact's files into a folder of the caller's."""
    weights = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    full = {
        **{key: value for key, value in card.items() if not key.endswith("_sha256")},
        "format": FORMAT,
        "version": VERSION,
        "feature_size": model.feature,
    }
    full["weights_sha256"] = _write(folder / WEIGHTS, weights, {"essentials": _essentials(full)})
    if concepts:
        known = full.get("concepts", {})
        full["concepts"] = {
            modality: {**known.get(modality, {}), "encoder": space.encoder}
            for modality, space in concepts.items()
        }
        full["concepts_sha256"] = _write(folder / CONCEPTS, maps.to_tensors(concepts), {})
    text = json.dumps(full, indent=2, sort_keys=True)  # so that saving what was loaded is the same
    full = json.loads(text)
    (folder / CARD).write_text(text, encoding="utf-8")
    (folder / README).write_text(describe(full), encoding="utf-8")


def load_encoder(source: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Load an artefact.

    Args:
        source: a folder (a run's, or one in the Hugging Face Hub's layout), or its URL
            (``s3://…``); or, where the project's sweeps are installed, an MLflow address
            (``models:/demo@best``, ``runs:/ID/encoder``) or the id of a run.

    Raises:
        UserError: a file is missing or altered, or of a version that this code does not know.
    """
    with find_artefact(source) as folder:
        return _load(folder).to(device)


def _load(folder: Path) -> Encoder:
    card_path, weights_path = _files(folder)
    card = read_card(card_path)
    tensors, metadata = _read(weights_path, card.get("weights_sha256"))
    if card["version"] >= 2 and metadata.get("essentials") != _essentials(card):
        raise UserError(
            f"{card_path}: disagrees with {weights_path.name} about layout, architecture, "
            "preprocessing or stream; one of them was changed by hand: copy the artefact again"
        )
    try:
        _require_backbone(card, folder)
        model = build(JointLayout.from_dict(card["layout"]), card["architecture"])
        model.load_state_dict(tensors)
        encoder = Encoder(model, card)
    except MissingPart:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: the card and the weights disagree: {error}") from None
    encoder.concepts = _concepts(folder / CONCEPTS, card, model.feature)
    return encoder


def _require_backbone(card: Mapping[str, Any], folder: Path) -> None:
    """Check that the encoder's backbone is registered here.

    Raises:
        MissingPart: it is not; the message names what brings it.
    """
    name, origin = card["architecture"].get("name", "stgcn"), card.get("backbone", {})
    try:
        find("backbone", name)
    except UserError:
        package = remedy = ""
        if "package" in origin:
            package = f" of package {origin['package']} {origin['version']}"
            remedy = f"pip install {origin['package']}=={origin['version']}, or "
        module = origin.get("module", "the module that registers it")
        raise MissingPart(
            f"{folder}: needs backbone {name}{package}: {remedy}import {module} "
            f"(from a command: C2VL_IMPORTS={module})"
        ) from None


def _files(folder: Path) -> tuple[Path, Path]:
    """Return the paths of card and weights, in our layout or the Hub's."""
    if not (folder / CARD).exists() and (folder / "config.json").exists():
        return folder / "config.json", folder / "model.safetensors"
    return folder / CARD, folder / WEIGHTS


def _concepts(path: Path, card: Mapping[str, Any], feature: int) -> dict[str, ConceptSpace]:
    if "concepts_sha256" not in card:
        return {}
    named, _ = _read(path, card["concepts_sha256"])
    return maps.from_tensors(named, card["concepts"], feature)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write tensors and return the file's digest (metadata of two entries has no fixed order)."""
    data = save(tensors, metadata=metadata)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _essentials(card: Mapping[str, Any]) -> str:
    return json.dumps({key: card[key] for key in ESSENTIALS}, sort_keys=True)


def _read(path: Path, digest: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a safetensors file's tensors, and the text that its header holds beside them."""
    data = read_sealed(path, digest)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise UserError(
            f"{path}: is no safetensors file ({error}); other formats are not read, since they can "
            "run code"
        ) from None
    length = int.from_bytes(data[:8], "little")
    return tensors, json.loads(data[8 : 8 + length]).get("__metadata__", {})
