"""Settings of our own objectives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from c2vl.config.by_name import ByName
from c2vl.config.experiment import (
    AugmentSettings,
    Experiment,
    ObjectiveSettings,
    ScheduleSettings,
    Settings,
    chosen_by_default,
)
from c2vl.registry import find

Edge = Literal["skeleton_language", "skeleton_vision", "vision_language"]


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


class ContrastSettings(ObjectiveSettings):
    """Softened cross-modal contrast: targets, temperatures, schedule, weights (C²VL)."""

    targets: Literal["hard", "intra", "inter", "both"] = Field(
        "intra", description="what one-hot targets are softened by"
    )
    beta: float = Field(0.5, ge=0, le=1, description="share of inter in 'both'")
    temperature: float = Field(0.1, gt=0, le=5, description="τ of the predictions")
    learn_temperature: bool = Field(False, description="τ trainable, from the value above")
    temperature_floor: float = Field(0.01, gt=0, le=1, description="a learnt τ is kept above this")
    temperature_intra: float = Field(0.1, gt=0, le=5, description="τ of the self-similarity")
    temperature_inter: float = Field(0.1, gt=0, le=5, description="τ of the teacher's prediction")
    effective_targets: float = Field(
        0.0,
        ge=0,
        description="effective number of targets of the self-similarity, a perplexity of 1 or "
        "more for which each batch's τ is found (ours); 0: temperature_intra",
    )
    forward_guide: Literal["concept", "skeleton"] = Field(
        "concept",
        description="whose self-similarity softens the skeleton→concept direction; a wrong concept "
        "guides wrongly, the skeleton does not (ours)",
    )
    reverse_guide: Literal["concept", "skeleton"] = Field(
        "concept", description="whose self-similarity softens the concept→skeleton direction"
    )
    consistency: Literal["swapped", "cross"] = Field(
        "swapped", description="inter target: the opposite direction, or the other modality"
    )
    teacher: Literal["current", "ema"] = Field("current", description="who predicts inter targets")
    schedule: Annotated[ScheduleSettings, ByName("schedule", "cosine", "shape")] = (
        chosen_by_default()
    )
    disentangle: bool = Field(
        False, description="soften among the negatives alone, the pair apart (SoftCLIP)"
    )
    keep_after: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of training after which pairs are left out whose running similarity is "
        "that of shuffled pairs rather than of right ones (ours); 1: never",
    )
    weights: WeightSettings = WeightSettings()

    def modalities(self) -> tuple[str, ...]:
        """Return the modalities at the ends of the edges whose weight is above 0."""
        weights = self.weights
        used = {"language": weights.skeleton_language, "vision": weights.skeleton_vision}
        return tuple(name for name in used if used[name] > 0 or weights.vision_language > 0)

    def check(self, experiment: Experiment) -> None:
        """Check that edges, targets and teacher have the modalities and copies they need."""
        weights = self.weights
        if 0 < self.effective_targets < 1:
            raise ValueError(
                "objective.effective_targets must be 1 (one-hot) or more; 0 for temperature_intra"
            )
        if weights.vision_language > 0 and not experiment.prompts.adapter:
            raise ValueError(
                "objective.weights.vision_language > 0 has no gradient with frozen concepts: "
                "set prompts.adapter to true"
            )
        softened_by_model = self.targets in ("inter", "both")
        if softened_by_model and self.consistency == "cross":
            if weights.skeleton_language == 0 or weights.skeleton_vision == 0:
                raise ValueError(
                    "objective.consistency 'cross' needs both skeleton edges above 0; "
                    "use 'swapped' with one modality"
                )
        if softened_by_model and self.teacher == "ema" and experiment.train.ema == 0:
            raise ValueError("objective.teacher 'ema' needs train.ema above 0 (0.99 is usual)")


class SupervisedSettings(ObjectiveSettings):
    """Cross-entropy with the labels: a reference, not C²VL, with the same data and budget."""

    uses_labels: ClassVar[bool] = True

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="smoothing of the labels")


class SkeletonCLRSettings(ObjectiveSettings):
    """Contrast of two views of a skeleton with a queue of keys; no prompts (Li et al., CVPR 2021).

    The paper's key encoder has a decay of 0.999: ``train.ema``, or that where it is 0.
    """

    temperature: float = Field(0.07, gt=0, le=5, description="τ of the predictions")
    projection: int = Field(128, ge=2, le=4096, description="size of what is compared")
    queue: int = Field(
        32768,
        ge=2,
        description="earlier keys as negatives; at most 0.8 of the training sequences, the share "
        "that the paper's queue has of NTU RGB+D 60",
    )

    def views(self, usual: AugmentSettings) -> tuple[AugmentSettings, ...]:
        """The key's view is drawn as the query's."""
        return (usual,)


class AimCLRSettings(SkeletonCLRSettings):
    """SkeletonCLR with an extreme view and mined neighbours (Guo et al., AAAI 2022)."""

    neighbours: int = Field(1, ge=1, description="keys taken for positives, from half of training")
    extreme: Annotated[AugmentSettings, ByName("augmentation", "extreme")] = chosen_by_default()

    def views(self, usual: AugmentSettings) -> tuple[AugmentSettings, ...]:
        """The key's view, and the extreme one."""
        return (usual, self.extreme)


class MaskedMotionSettings(ObjectiveSettings):
    """Prediction of the motion of hidden places; no prompts (MAMP, Mao et al., ICCV 2023)."""

    mask_ratio: float = Field(
        0.9, gt=0, lt=1, description="share of a body's places that is hidden"
    )
    temperature: float = Field(
        0.8, gt=0, description="of choosing what is hidden: low takes what moves, high any place"
    )
    decoder_layers: int = Field(
        1, ge=1, le=12, description="transformer layers behind the encoder; MAMP has 5"
    )

    def check(self, experiment: Experiment) -> None:
        """Check that the backbone has the feature maps that are predicted from."""
        from c2vl.model.base import Backbone  # torch: only for this objective

        kind: type[Backbone] = find("backbone", experiment.model.name).load()
        if kind.feature_map is Backbone.feature_map:
            raise ValueError(
                f"objective.name '{self.name}' predicts from features in time and place, which "
                f"model.name '{experiment.model.name}' does not have: choose another backbone or "
                "objective, or write its feature_map (docs/parts.md)"
            )
