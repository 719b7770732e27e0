"""The C²VL objective: concept heads, softening schedule and loss as one part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from c2vl.objective.base import Batch, ConceptMap, Objective, Sizes, Step
from c2vl.objective.gather import gather
from c2vl.objective.heads import ConceptHeads
from c2vl.objective.loss import View, c2vl_loss, view
from c2vl.objective.reliability import PairScores
from c2vl.objective.schedule import softening
from c2vl.objective.settings import ContrastSettings
from c2vl.probes.feature_space import alignment

if TYPE_CHECKING:
    from c2vl.config.experiment import Experiment


class Contrast(Objective):
    """Softened cross-modal contrast (arXiv 2405.20606); see :mod:`c2vl.objective.loss`."""

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.settings = settings = cast(ContrastSettings, experiment.objective)
        self.uses_average = settings.teacher == "ema"
        self.heads = ConceptHeads(
            sizes.feature,
            sizes.concepts,
            temperature=settings.temperature,
            learn_temperature=settings.learn_temperature,
            floor=settings.temperature_floor,
            adapter=experiment.prompts.adapter,
            edges=[edge for edge, weight in settings.weights if weight > 0],
        )
        self.scores = nn.ModuleDict()
        if settings.keep_after < 1:
            for modality in settings.modalities():
                self.scores[modality] = PairScores(sizes.sequences)

    def loss(
        self, features_nF: Tensor, batch: Batch, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the global batch, a scalar, and the part of each edge."""
        teacher: View | None = None
        if step.teacher is not None:
            averaged, features = step.teacher
            with torch.no_grad():
                heads = cast(Contrast, averaged).heads
                teacher = view(heads, features, batch.concepts, batch.has)
        student = view(self.heads, features_nF, batch.concepts, batch.has)
        if self.scores:
            student = self._believed(student, gather(batch.rows), step.progress)
        alpha = softening(self.settings.schedule, step.progress)
        return c2vl_loss(self.settings, self.heads, student, alpha=alpha, teacher=teacher)

    def _believed(self, student: View, rows_N: Tensor, progress: float) -> View:
        """Score the pairs, and return a view without those that look wrong once it is time."""
        has = dict(student.has)
        for modality, one in self.scores.items():
            scores = cast(PairScores, one)
            with torch.no_grad():
                a_ND, b_ND = student.skeleton[modality], student.concept[modality]
                similar_N = (a_ND * b_ND).sum(1)
                there_N = has.get(modality, torch.ones_like(similar_N, dtype=torch.bool))
                scores.update(rows_N, similar_N, there_N)
                if progress >= self.settings.keep_after:
                    has[modality] = there_N & scores.believed(rows_N, a_ND, b_ND, there_N)
        return replace(student, has=has)

    def figures(self, progress: float) -> dict[str, float]:
        """Return the softening degree and the temperature τ of each edge."""
        edges = self.heads.log_temperature
        return {"alpha": softening(self.settings.schedule, progress)} | {
            f"temperature_{edge}": float(self.heads.temperature(edge)) for edge in edges
        }

    def validation_figures(
        self, features_NF: Tensor, concepts: Mapping[str, Tensor], has: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """Return skeleton-concept mean squared distances (Wang and Isola, ICML 2020, eq. 1)."""
        projected, adapted = self.heads.project(features_NF), self.heads.adapt(concepts)
        found = {}
        for modality, rows_ND in adapted.items():
            there_N = has.get(modality, torch.ones(len(rows_ND), dtype=torch.bool))
            there_N = there_N.to(rows_ND.device)
            apart = alignment(projected[modality][there_N], rows_ND[there_N])
            found[f"alignment_{modality}"] = apart
        return found | {"alignment": sum(found.values()) / len(found)}

    def after_step(self) -> None:
        """Keep learnt temperatures above their floor."""
        self.heads.keep_floor()

    def concept_maps(self) -> dict[str, ConceptMap]:
        """Return the head and the adapter of each modality."""
        state = self.heads.state_dict()
        return {
            name: ConceptMap(
                state[f"maps.{name}.weight"],
                state[f"maps.{name}.bias"],
                state.get(f"adapters.{name}.weight"),
            )
            for name in self.heads.maps
        }
