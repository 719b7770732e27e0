"""One experiment as typed, frozen settings.

Every setting that a sweep may search lives here, with the reason for its default. How settings come
out of YAML and go back into it: :mod:`c2vl.config.reading`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stream = Literal["joint", "bone", "motion"]
Edge = Literal["skeleton_language", "skeleton_vision", "vision_language"]


class Settings(BaseModel):
    """Frozen, and strict about names: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AugmentSettings(Settings):
    """Augmentation of pretraining batches; mild, since C²VL avoids breaking the skeleton."""

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


class DataSettings(Settings):
    """Which sequences, and how they reach the encoder."""

    store: Path = Field(Path("runs/stores/demo"), description="prepared store (c2vl data prepare)")
    split: str = Field(
        "xsub",
        description="train and test parts: a named split (c2vl data splits STORE), loso:N to leave "
        "subject N out, or a CSV file with the columns id and part",
    )
    validation_by: Literal["subject", "camera", "setup"] = Field(
        "subject", description="*training* sequences are grouped by this for selection"
    )
    validation_folds: int = Field(
        4,
        ge=2,
        le=20,
        description="each fold of groups is scored by a probe fitted on the others; the test part "
        "is never looked at",
    )
    pretrain_on_validation: bool = Field(
        True,
        description="label-free pretraining sees all training sequences; false keeps the first "
        "fold out of it and selects on that fold alone",
    )
    frames: int = Field(50, ge=8, le=1000, description="T after linear resampling")
    centre: bool = Field(True, description="subtract the spine-shoulder joint, frame by frame")
    align: bool = Field(True, description="turn the shoulder line of the first frame parallel to x")
    stream: Stream = Field("joint", description="input stream")
    augment: AugmentSettings = AugmentSettings()


class PromptSettings(Settings):
    """Concept features: one table a modality, made by ``c2vl prompts``."""

    language: Path | None = Field(
        Path("runs/stores/demo/language"), description="folder of the language concept table"
    )
    vision: Path | None = Field(None, description="folder of the vision concept table")
    per_sample: int = Field(
        16, ge=1, description="prompts used a sample: all, or k drawn anew each step"
    )
    missing: Literal["error", "exclude", "mask"] = Field(
        "error",
        description="training sequences without prompts of a modality: refused, left out of "
        "pretraining, or trained without that modality's edges (the negatives of an edge are the "
        "sequences that have both of its ends)",
    )
    normalise: Literal["none", "centre", "whiten"] = Field(
        "centre",
        description="over the training part, before the unit norm: sentence encoders give all "
        "captions a large common component, which the contrast would have to spend itself on",
    )
    adapter: bool = Field(
        False, description="trainable linear adapter on the concepts (the v-l edge needs it)"
    )


class ModelSettings(Settings):
    """ST-GCN of the CrosSCLR/AimCLR lineage (hidden 16, feature 256; 64 is the original width)."""

    hidden: int = Field(16, ge=4, le=256, description="channels of the first stage, then ×2, ×4")
    feature: int = Field(256, ge=8, le=4096, description="feature size")
    temporal_kernel: int = Field(9, ge=1, le=31, description="odd length of temporal convolutions")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout inside ST-GCN blocks")
    edge_importance: bool = Field(True, description="learnable edge weights")

    @model_validator(mode="after")
    def _odd(self) -> ModelSettings:
        if self.temporal_kernel % 2 == 0:
            raise ValueError("temporal_kernel must be odd, so that a convolution keeps T")
        return self


class ScheduleSettings(Settings):
    """The softening degree α over training; growing from 0 is the default."""

    shape: Literal["constant", "linear", "cosine", "exponential", "step"] = Field(
        "cosine", description="how α moves; constant is `end` all along"
    )
    start: float = Field(0.0, ge=0, le=1, description="α before the move")
    end: float = Field(0.8, ge=0, le=1, description="α after the move; below start is allowed")
    span: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of training over which α moves from start to end; a step is half way",
    )


class WeightSettings(Settings):
    """Edge weights of the loss."""

    skeleton_language: float = Field(1.0, ge=0, description="w_sl of the loss")
    skeleton_vision: float = Field(0.0, ge=0, description="w_sv; needs a vision table")
    vision_language: float = Field(0.0, ge=0, description="w_vl; needs both tables and an adapter")

    @model_validator(mode="after")
    def _some(self) -> WeightSettings:
        if self.skeleton_language == 0 and self.skeleton_vision == 0:
            raise ValueError("one of skeleton_language and skeleton_vision must be above 0")
        return self


class ObjectiveSettings(Settings):
    """Softened cross-modal contrast: targets, temperatures, schedule, weights (c2vl/objective)."""

    targets: Literal["hard", "intra", "inter", "both"] = Field(
        "intra", description="what one-hot targets are softened by"
    )
    beta: float = Field(0.5, ge=0, le=1, description="share of inter in 'both'")
    temperature: float = Field(0.1, gt=0, le=5, description="τ of the predictions")
    learn_temperature: bool = Field(False, description="τ trainable, from the value above")
    temperature_floor: float = Field(0.01, gt=0, le=1, description="a learnt τ is kept above this")
    temperature_intra: float = Field(0.1, gt=0, le=5, description="τ of the self-similarity")
    temperature_inter: float = Field(0.1, gt=0, le=5, description="τ of the teacher's prediction")
    reverse_guide: Literal["concept", "skeleton"] = Field(
        "concept", description="whose self-similarity softens the concept→skeleton direction"
    )
    consistency: Literal["swapped", "cross"] = Field(
        "swapped", description="inter target: the opposite direction, or the other modality"
    )
    teacher: Literal["current", "ema"] = Field("current", description="who predicts inter targets")
    schedule: ScheduleSettings = ScheduleSettings()
    weights: WeightSettings = WeightSettings()
    supervised: bool = Field(
        False,
        description="a reference, not C²VL: cross-entropy with the labels (smoothing 0.1) instead "
        "of the concepts; data, network and budget as they are",
    )


class OptimSettings(Settings):
    """Optimisation of pretraining."""

    name: Literal["sgd", "adamw"] = Field(
        "sgd", description="the lineage's SGD; AdamW wants lr near 0.003 and weight_decay 0.01"
    )
    lr: float = Field(0.1, gt=0, le=10, description="learning rate at its highest")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD alone")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="temperatures are left out of it")
    nesterov: bool = Field(True, description="of SGD alone")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of training with a rising lr")
    decay: Literal["cosine", "step", "none"] = Field(
        "cosine", description="'step' is ×0.1 at 250/300 of training, as the lineage does"
    )
    clip: float = Field(0.0, ge=0, description="clip the gradient's norm; 0 is off")


class TrainSettings(Settings):
    """The length of training, and what is kept of it."""

    epochs: int = Field(120, ge=1, le=100000, description="passes over the training part")
    batch_size: int = Field(64, ge=2, description="global batch, over all workers")
    workers: int = Field(1, ge=1, le=4096, description="Ray Train workers")
    gpus_per_worker: float = Field(0.0, ge=0, description="fractions for one worker alone")
    cpus_per_worker: float = Field(1.0, gt=0, description="as many torch threads")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the averaged weights (0: none are kept)"
    )
    evaluate_ema: bool = Field(False, description="score and export the averaged weights")
    checkpoint_every: int = Field(10, ge=1, description="epochs between checkpoints")
    checkpoint_steps: int = Field(0, ge=0, description="also every so many steps; 0: never")
    keep_checkpoints: int = Field(2, ge=1, description="the latest so many, until it is done")
    evaluate_every: int = Field(5, ge=1, description="epochs between validation figures")
    system_metrics: bool = Field(
        False, description="report cores, memory and GPU memory in use with each epoch"
    )

    @model_validator(mode="after")
    def _fits(self) -> TrainSettings:
        if self.evaluate_ema and self.ema == 0:
            raise ValueError("evaluate_ema needs ema above 0 (0.99 is usual)")
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide by workers {self.workers}"
            )
        if self.gpus_per_worker % 1 and self.workers > 1:
            raise ValueError(
                "a fraction of a GPU is for one worker alone (NCCL refuses to share a device)"
            )
        return self


class Experiment(Settings):
    """Everything that one training run depends on."""

    name: str = Field(
        "demo", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="of the run, everywhere"
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="decides initial weights, order, augmentation and dropout"
    )
    data: DataSettings = DataSettings()
    prompts: PromptSettings = PromptSettings()
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()

    def concept_tables(self) -> dict[str, Path | None]:
        """The modalities that the objective reads, and their tables."""
        weights = self.objective.weights
        used = {
            "language": weights.skeleton_language > 0 or weights.vision_language > 0,
            "vision": weights.skeleton_vision > 0 or weights.vision_language > 0,
        }
        if self.objective.supervised:
            return {}
        return {name: getattr(self.prompts, name) for name in used if used[name]}

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        objective, prompts, tables = self.objective, self.prompts, self.concept_tables()
        weights = objective.weights
        if "language" in tables and prompts.language is None:
            raise ValueError(
                "objective.weights asks for language, but prompts.language names no table: "
                "make one with `c2vl prompts`, or set the weights of language edges to 0"
            )
        if "vision" in tables and prompts.vision is None:
            raise ValueError(
                "objective.weights asks for vision, but prompts.vision names no table: "
                "set objective.weights.skeleton_vision and vision_language to 0, or name one"
            )
        if weights.vision_language > 0 and not prompts.adapter:
            raise ValueError(
                "objective.weights.vision_language > 0 has no gradient with frozen concepts: "
                "set prompts.adapter to true"
            )
        softened_by_model = objective.targets in ("inter", "both")
        if softened_by_model and objective.consistency == "cross":
            if weights.skeleton_language == 0 or weights.skeleton_vision == 0:
                raise ValueError(
                    "objective.consistency 'cross' needs both skeleton edges above 0; "
                    "use 'swapped' with one modality"
                )
        if softened_by_model and objective.teacher == "ema" and self.train.ema == 0:
            raise ValueError("objective.teacher 'ema' needs train.ema above 0 (0.99 is usual)")
        return self
