"""A linear classifier on an encoder's features, as an artefact of weights and a card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from c2vl.encoder import Encoder
from c2vl.encoder.card import read_file, read_versioned
from c2vl.probes.linear import LinearClassifier, counting, fit_chosen, most_fits
from c2vl.protocols.task import Floats, Task
from c2vl.support.errors import UserError
from c2vl.support.files import replacing_folder
from c2vl.support.progress import progress

FORMAT, VERSION = "c2vl-head", 1
WEIGHTS, CARD = "head.safetensors", "head.json"
_MADE_BY = "a classifier is a folder made by `c2vl classify-fit`"


@dataclass(frozen=True)
class Head:
    """A classifier that belongs to one encoder.

    Attributes:
        probe: the fitted layer with the standardisation of its features.
        classes: names by label.
        encoder: digest of the encoder whose features it reads.
        card: what ``head.json`` holds.
    """

    probe: LinearClassifier
    classes: tuple[str, ...]
    encoder: str
    card: dict[str, Any]

    def probabilities(self, features: Floats) -> Floats:
        """Return class probabilities (n, classes) of features (n, F)."""
        scores = torch.from_numpy(self.probe.scores(features))
        return np.asarray(torch.softmax(scores, dim=1).numpy(), np.float32)

    def top(self, features: Floats, count: int) -> list[list[tuple[str, float]]]:
        """Return the likeliest classes of each feature with probabilities, likeliest first."""
        found = []
        for row in self.probabilities(features):
            order = np.argsort(-row, kind="stable")[:count]
            found.append([(self.classes[label], float(row[label])) for label in order])
        return found

    def fits(self, encoder: Encoder) -> None:
        """Check that it belongs to an encoder; a UserError says what to do where it does not."""
        if self.encoder != encoder.digest:
            raise UserError(
                f"the classifier was fitted on encoder {self.encoder[:12]}, this is "
                f"{encoder.digest[:12]}; fit one: c2vl classify-fit ENCODER STORE OUT --split NAME"
            )


def fit_head(task: Task) -> Head:
    """Fit the convex probe on the training part; its strength is chosen on folds of it."""
    train = task.split.train
    known = task.known(train)
    with progress("probes") as shown:
        numbers = task.fold_numbers
        fitted = counting(shown, most_fits(numbers))
        probe, on_folds = fit_chosen(*known, numbers, classes=task.classes, fitted=fitted)
    card = {
        "classes": list(task.store.class_names),
        "encoder": task.encoder.digest,
        "dataset": task.store.manifest["dataset"],
        "store": task.store.digest,
        "split": task.split.name,
        "strength": probe.strength,
        "validation": on_folds,
        "training sequences": len(train),
    }
    return Head(probe, tuple(task.store.class_names), task.encoder.digest, card)


def save_head(folder: Path, head: Head) -> None:
    """Write a classifier to a folder, all of it or nothing."""
    with replacing_folder(folder) as partial:
        probe = head.probe
        named = {name: getattr(probe, name).contiguous() for name in _PARTS}
        data = save(named)
        (partial / WEIGHTS).write_bytes(data)
        card = {
            **head.card,
            "format": FORMAT,
            "version": VERSION,
            "weights_sha256": hashlib.sha256(data).hexdigest(),
        }
        (partial / CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")


def load_head(folder: Path) -> Head:
    """Load a classifier.

    Raises:
        UserError: a file is missing, altered, or of another version.
    """
    card = read_versioned(folder / CARD, (FORMAT, VERSION), _MADE_BY)
    data = read_file(folder / WEIGHTS, _MADE_BY)
    if hashlib.sha256(data).hexdigest() != card.get("weights_sha256"):
        raise UserError(f"{folder / WEIGHTS}: altered or cut short (its digest is not the card's)")
    try:
        named = load(data)
        probe = LinearClassifier(
            **{name: named[name] for name in _PARTS}, strength=float(card["strength"])
        )
        classes = tuple(str(name) for name in card["classes"])
        if probe.weight.shape[0] != len(classes) or probe.weight.shape[1:] != probe.mean.shape:
            raise ValueError("the shapes do not fit")
        return Head(probe, classes, str(card["encoder"]), card)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: the card and the weights disagree: {error}") from None


_PARTS = ("mean", "scale", "weight", "bias")
