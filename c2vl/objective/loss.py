"""The C²VL loss: cross-modal contrast with softened targets, over three edges.

``L = w_sv L(s, v) + w_sl L(s, l) + w_vl L(v, l)`` with, for each edge,
``L(a, b) = ½ [CE(T, p^{a→b}) + CE(T', p^{b→a})]`` (arXiv 2405.20606 names the three pairs; the
formulas are our reconstruction). With α = 0 it is InfoNCE as in CLIP. Sequences that lack a
modality take no part in its edges, neither as anchors nor as negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from c2vl.objective import targets
from c2vl.objective.gather import gather
from c2vl.objective.heads import ConceptHeads
from c2vl.objective.settings import ContrastSettings

EDGES = ("skeleton_language", "skeleton_vision", "vision_language")


@dataclass(frozen=True)
class View:
    """The global batch as one model projects it; all rows have unit length.

    Attributes:
        skeleton: concept modality → (N, D) skeleton rows in that space.
        concept: concept modality → (N, D) concept rows.
        has: concept modality → (N,) bool, which rows have concepts. A modality that is
            not named has all of them.
    """

    skeleton: Mapping[str, Tensor]
    concept: Mapping[str, Tensor]
    has: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, kept: Tensor) -> View:
        """Return the view of only those rows that a mask (N,) selects."""
        skeleton = {name: rows[kept] for name, rows in self.skeleton.items()}
        return View(skeleton, {name: rows[kept] for name, rows in self.concept.items()})

    def ends(self, edge: str) -> tuple[Tensor, Tensor]:
        """Return the two sides of an edge, (N, D) each."""
        if edge == "vision_language":
            return self.concept["vision"], self.concept["language"]
        modality = edge.removeprefix("skeleton_")
        return self.skeleton[modality], self.concept[modality]


def view(
    heads: ConceptHeads,
    features: Tensor,
    concepts: Mapping[str, Tensor],
    has: Mapping[str, Tensor] | None = None,
) -> View:
    """Project the features of this worker and gather both sides over all workers.

    Args:
        heads: the maps into the concept spaces.
        features: (N/k, feature) skeleton features of this worker.
        concepts: modality → (N/k, D) unit rows of this worker.
        has: modality → (N/k,) bool, which rows have concepts; None: all.
    """
    skeleton = {name: gather(rows) for name, rows in heads.project(features).items()}
    concept = {name: gather(rows) for name, rows in heads.adapt(concepts).items()}
    there = {name: gather(kept[:, None].float())[:, 0] > 0 for name, kept in (has or {}).items()}
    return View(skeleton, concept, there)


def edge_targets(
    settings: ContrastSettings, alpha: float, edge: str, teacher: View
) -> tuple[Tensor, Tensor]:
    """Return the targets (T, T') of both directions of an edge, each (N, N)."""
    a, b = teacher.ends(edge)
    forward_intra = backward_intra = forward_inter = backward_inter = None
    if settings.targets in ("intra", "both"):
        # The guide is the concept; on the vision-language edge, each side's own partner.
        forward_intra = targets.intra(b, settings.temperature_intra)
        backward_intra = forward_intra
        if settings.reverse_guide == "skeleton":
            backward_intra = targets.intra(a, settings.temperature_intra)
    if settings.targets in ("inter", "both"):
        other = {"skeleton_language": "skeleton_vision", "skeleton_vision": "skeleton_language"}
        if settings.consistency == "cross" and edge in other:
            x, y = teacher.ends(other[edge])  # the other modality teaches, same direction
            forward_inter = targets.inter(x, y, settings.temperature_inter)
            backward_inter = targets.inter(y, x, settings.temperature_inter)
        else:
            forward_inter = targets.inter(b, a, settings.temperature_inter)
            backward_inter = targets.inter(a, b, settings.temperature_inter)
    return (
        targets.mix(alpha, settings.beta, forward_intra, forward_inter, a.detach()),
        targets.mix(alpha, settings.beta, backward_intra, backward_inter, a.detach()),
    )


def edge_rows(settings: ContrastSettings, edge: str, seen: View) -> Tensor | None:
    """Return which rows of the batch train an edge, (N,) bool; None: all.

    An edge needs both of its ends, and both modalities where the other one teaches.
    """
    cross = settings.targets in ("inter", "both") and settings.consistency == "cross"
    needed: tuple[str, ...] = ("language", "vision")
    if edge != "vision_language" and not cross:
        needed = (edge.removeprefix("skeleton_"),)
    masks = [seen.has[name] for name in needed if name in seen.has]
    return torch.stack(masks).all(0) if masks else None


def edge_loss(a: Tensor, b: Tensor, t: Tensor, t_back: Tensor, temperature: Tensor) -> Tensor:
    """``½ [CE(T, softmax(a b^T / τ)) + CE(T', softmax(b a^T / τ))]``, the mean over rows.

    Args:
        a: (N, D) unit rows.
        b: (N, D) unit rows.
        t: (N, N) targets of a→b, rows sum to one.
        t_back: (N, N) targets of b→a.
        temperature: τ, a scalar tensor.
    """
    logits = a @ b.t() / temperature
    there = -(t * functional.log_softmax(logits, dim=1)).sum(1).mean()
    back = -(t_back * functional.log_softmax(logits.t(), dim=1)).sum(1).mean()
    return (there + back) / 2


def c2vl_loss(
    settings: ContrastSettings,
    heads: ConceptHeads,
    student: View,
    *,
    alpha: float,
    teacher: View | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of the global batch and its part of each edge (before the weights).

    Args:
        settings: targets, temperatures and weights.
        heads: holds the temperatures of the edges.
        student: the model's view, with gradient.
        alpha: softening degree of this step.
        teacher: the view that inter-modal targets come from; the student's own if None.

    Raises:
        KeyError: an edge has a weight but its modality is absent (settings and tables are checked
            against each other before training, so this is a mistake in the code).
    """
    total = torch.zeros((), device=next(iter(student.skeleton.values())).device)
    parts: dict[str, Tensor] = {}
    for edge in EDGES:
        weight = getattr(settings.weights, edge)
        if weight == 0:
            continue
        seen, guide = student, teacher or student
        kept = edge_rows(settings, edge, student)
        if kept is not None:
            seen, guide = student.rows(kept), guide.rows(kept)
        a, b = seen.ends(edge)
        if len(a) < 2:  # no negatives: zero, but still a function of the weights
            parts[edge] = 0 * (a.sum() + b.sum() + heads.temperature(edge))
        else:
            t, t_back = edge_targets(settings, alpha, edge, guide)
            parts[edge] = edge_loss(a, b, t, t_back, heads.temperature(edge))
        total = total + weight * parts[edge]
    return total, parts
