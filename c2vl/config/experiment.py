"""One experiment as typed, frozen settings, each with the reason for its default.

The settings of backbone, objective, schedule, augmentation and optimizer depend on the part that
is chosen by name: here stands what all parts of a kind share; a room's ``settings`` module holds
what its parts add (:mod:`c2vl.model.settings`, :mod:`c2vl.objective.settings`,
:mod:`c2vl.training.optimizer_settings`, :mod:`c2vl.skeletons.augmentation_settings`).
How settings come out of YAML and go back into it: :mod:`c2vl.config.reading`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from c2vl.config.by_name import ByName
from c2vl.config.earlier import as_today
from c2vl.config.held_out import held_out
from c2vl.registry import import_modules
from c2vl.support.files import require_local
from c2vl.support.remote import Location, parse_location

Stream = Literal["joint", "bone", "motion"]
Format = Literal["auto", "fp32", "tf32", "bf16", "fp16"]


def _local(path: Any) -> Any:
    require_local(str(path))
    return path


Folder = Annotated[Path, BeforeValidator(_local)]
DataLocation = Annotated[Path | str, BeforeValidator(parse_location)]
"""A folder or a URL (:data:`c2vl.support.remote.Location`) of what is made once and then read."""


class Settings(BaseModel):
    """Frozen, and strict about names: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def chosen_by_default() -> Any:
    """A field's default: its settings where none is given."""
    return Field(default_factory=dict, validate_default=True)


class AugmentSettings(Settings):
    """What the settings of every augmentation of pretraining batches share."""

    name: str = Field("", description="augmentation of pretraining batches")


class DataSettings(Settings):
    """Which sequences, and how they reach the encoder."""

    store: DataLocation = Field(
        description="prepared store (c2vl data prepare): a folder or a URL (s3://bucket/ntu60)"
    )
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
        description="each fold of groups is scored by a probe fitted on the labels of the others; "
        "the test part is left alone",
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
    augment: Annotated[AugmentSettings, ByName("augmentation", "geometric")] = chosen_by_default()


class PromptSettings(Settings):
    """Concept features: one table a modality, made by ``c2vl prompts``."""

    language: DataLocation | None = Field(
        None, description="folder or URL of the language concept table"
    )
    vision: DataLocation | None = Field(
        None, description="folder or URL of the vision concept table"
    )
    per_sample: int = Field(
        0, ge=0, description="prompts of a sample that are drawn anew at each step; 0: all are used"
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
    """What the settings of every backbone share."""

    name: str = Field("", description="backbone: the network that encodes a sequence")


class ScheduleSettings(Settings):
    """What every schedule shape moves between; α, the softening degree, grows from 0 by default."""

    shape: str = Field("", description="how α moves; constant is `end` all along")
    start: float = Field(0.0, ge=0, le=1, description="α before the move")
    end: float = Field(0.8, ge=0, le=1, description="α after the move; below start is allowed")
    span: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of training over which α moves from start to end; a step is half way",
    )


class ObjectiveSettings(Settings):
    """What the settings of every objective share, and what the program asks of them.

    Attributes:
        uses_labels: whether training reads the labels; an encoder's card says so.
    """

    uses_labels: ClassVar[bool] = False

    name: str = Field("", description="objective: the loss that training minimises")

    def modalities(self) -> tuple[str, ...]:
        """Which concept tables the objective reads: "language", "vision", both or none."""
        return ()

    def views(self, usual: AugmentSettings) -> tuple[AugmentSettings, ...]:
        """How each clip is augmented for further views of it; ``usual`` is ``data.augment``."""
        return ()

    def check(self, experiment: Experiment) -> None:
        """See that the objective fits the rest of an experiment.

        Raises:
            ValueError: it does not; the message names the settings and says what to change.
        """


class OptimSettings(Settings):
    """What the settings of every optimizer share: weight decay, and the course of the rate."""

    name: str = Field("", description="optimizer of pretraining")
    lr: float = Field(0.1, gt=0, le=10, description="learning rate at its highest")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="temperatures are left out of it")
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
    reuse_workers: bool = Field(
        True,
        description="workers stay for the next trial; false: Ray Train's documented trainer, which "
        "starts new ones for each",
    )
    precision: Format = Field(
        "auto",
        description="numbers of the network's products: auto is fp32 on a CPU and tf32 on a GPU "
        "that has it; the contrast stays in float32",
    )
    compile: bool = Field(
        False, description="compile the network's kernels: a minute at the start, then faster steps"
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="parts in which a worker computes its share of a batch, to need less memory; "
        "the contrast stays over the whole batch",
    )
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
        if self.gpus_per_worker > 1:
            raise ValueError(
                f"gpus_per_worker {self.gpus_per_worker:g}: one worker uses one GPU; set it to 1, "
                "and workers to the number of GPUs"
            )
        if self.accumulate > self.batch_size // self.workers:
            raise ValueError(
                f"accumulate {self.accumulate} is above the sequences of a worker's batch, "
                f"{self.batch_size // self.workers}"
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
    imports: tuple[str, ...] = Field(
        (), description="modules or files (my_parts.py) whose parts the settings below may name"
    )
    data: DataSettings = chosen_by_default()
    prompts: PromptSettings = PromptSettings()
    model: Annotated[ModelSettings, ByName("backbone", "stgcn")] = chosen_by_default()
    objective: Annotated[ObjectiveSettings, ByName("objective", "c2vl")] = chosen_by_default()
    optim: Annotated[OptimSettings, ByName("optimizer", "sgd")] = chosen_by_default()
    train: TrainSettings = TrainSettings()

    def concept_tables(self) -> dict[str, Location | None]:
        """The modalities that the objective reads, and their tables."""
        return {name: getattr(self.prompts, name) for name in self.objective.modalities()}

    @property
    def held_out(self) -> str:
        """What validation figures are measured on, and what training saw of it, in words."""
        return held_out(self.data.pretrain_on_validation, self.objective.uses_labels)

    def __reduce__(self) -> Any:
        # Another process must import `imports` before it can make the classes of the settings.
        return Experiment.model_validate, (self.model_dump(mode="json"),)

    @model_validator(mode="before")
    @classmethod
    def _prepared(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = as_today(values)
            if isinstance(modules := values.get("imports", ()), list | tuple):
                import_modules(module for module in modules if isinstance(module, str))
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        for modality, table in self.concept_tables().items():
            if table is None:
                raise ValueError(
                    f"the objective reads {modality}, but prompts.{modality} names no table: make "
                    "one with `c2vl prompts`, or set the weights of its edges (objective.weights) "
                    "to 0"
                )
        self.objective.check(self)
        return self
