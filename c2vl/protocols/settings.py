"""Settings of the protocols. A field with a description is an option of ``c2vl evaluate``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from c2vl.config.experiment import DataLocation, Format

_ELSEWHERE = ("gpus_per_worker", "precision")  # a row says what differs from fp32
EPOCHS = 70  # that the published warm-up and milestones are given for


class ProtocolSettings(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    needs_maps: ClassVar[tuple[str, ...]] = ()
    """Modalities whose map into the concept space the encoder must keep; a sweep leaves the
    protocol out for encoders without."""

    def decisive(self) -> dict[str, Any]:
        """Return what decides the figures: it names the results' file and stands in its rows."""
        return self.model_dump(mode="json")


class TrainingSettings(ProtocolSettings):
    """How encoder and classifier are trained with labels: the recipe of CrosSCLR and AimCLR.

    SGD with momentum 0.9; warm-up over 5 of 70 epochs, learning rate ×0.1 at epochs 30 and 55.
    """

    epochs: int = Field(EPOCHS, ge=1, description="The shape stays the same.")
    workers: int = Field(1, ge=1, description="Ray Train workers; 1 trains in this process.")
    gpus_per_worker: float = Field(0.0, ge=0)  # these two are options of every protocol
    precision: Format = "auto"
    batch_size: int = 64  # over all workers
    lr: float = 0.1  # at its highest
    weight_decay: float = 1e-4
    checkpoint_every: int = 10  # epochs

    @property
    def warmup(self) -> int:
        """Epochs with a rising learning rate."""
        return round(self.epochs / EPOCHS * 5)

    @property
    def milestones(self) -> list[int]:
        """Epochs after which the learning rate is a tenth."""
        return [round(self.epochs / EPOCHS * at) for at in (30, 55)]

    def learning_rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if epoch < self.warmup:
            return self.lr * (epoch + 1) / (self.warmup + 1)
        return self.lr * 0.1 ** sum(epoch >= at for at in self.milestones)

    def decisive(self) -> dict[str, Any]:
        found = self.model_dump(exclude={*_ELSEWHERE, "workers", "checkpoint_every"})
        found |= {"warmup": self.warmup, "milestones": self.milestones}
        return found | ({"workers": self.workers} if self.workers > 1 else {})


class SemiSupervisedSettings(TrainingSettings):
    """How to train with few labels."""

    draws: int = 5  # of the labelled sequences


class MapSettings(ProtocolSettings):
    """How features enter the concept space."""

    needs_maps = ("language",)

    map: Literal["head", "fitted"] = Field(
        "head",
        description="Features enter the concept space by the saved head, or by a map fitted on "
        "captions.",
    )
    concepts: DataLocation | None = Field(
        None, description="Language table of the store: captions to retrieve, or to fit a map on."
    )


class RetrievalSettings(MapSettings):
    """Which captions ask for motions, and which of them count as one."""

    threshold: float = Field(
        0.95,
        ge=0.5,
        le=1,
        description="Captions whose (1 + cosine) / 2 is above this count as equal, in the "
        "setting with near-equal texts.",
    )

    def decisive(self) -> dict[str, Any]:
        from c2vl.prompts.table import ConceptTable

        found: dict[str, Any] = {"by": self.map, "threshold": self.threshold}
        if self.concepts is not None:
            found["concepts"] = ConceptTable.open(self.concepts).digest
        return found


class ZeroShotSettings(MapSettings):
    """How features and class texts enter the concept space."""

    texts: Path | None = Field(
        None, description="YAML: class name → description(s); default: names in three templates."
    )

    def decisive(self) -> dict[str, Any]:
        found: dict[str, Any] = {"by": self.map}
        if self.texts is not None:
            from c2vl.protocols.descriptions import read_texts

            text = json.dumps(read_texts(self.texts))
            found["texts"] = hashlib.sha256(text.encode()).hexdigest()[:12]
        if self.map == "fitted" and self.concepts is not None:
            from c2vl.prompts.table import ConceptTable

            found["concepts"] = ConceptTable.open(self.concepts).digest
        return found
