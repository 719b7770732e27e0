"""The C²VL loss: cross-modal contrast with softened targets, over three edges.

``L = w_sv L(s, v) + w_sl L(s, l) + w_vl L(v, l)`` with, for each edge,
``L(a, b) = ½ [CE(T, p^{a→b}) + CE(T', p^{b→a})]`` (arXiv 2405.20606 names the three pairs; the
formulas are our reconstruction). With α = 0 it is InfoNCE as in CLIP. Sequences that lack a
modality take no part in its edges, neither as anchors nor as negatives: they are masked, so that
all shapes are known without looking at a value, which a GPU would have to be waited for.

Shapes: n sequences of this worker, N of all workers, F features, D concept dimension.
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

    def ends(self, edge: str) -> tuple[Tensor, Tensor]:
        """Return the two sides of an edge, (N, D) each."""
        if edge == "vision_language":
            return self.concept["vision"], self.concept["language"]
        modality = edge.removeprefix("skeleton_")
        return self.skeleton[modality], self.concept[modality]


def view(
    heads: ConceptHeads,
    features_nF: Tensor,
    concepts: Mapping[str, Tensor],
    has: Mapping[str, Tensor] | None = None,
) -> View:
    """Project the features of this worker and gather both sides over all workers.

    Args:
        heads: the maps into the concept spaces.
        features_nF: skeleton features of this worker.
        concepts: modality → (n, D) unit rows of this worker.
        has: modality → (n,) bool, which rows have concepts; None: all.
    """
    skeleton = {name: gather(rows_nD) for name, rows_nD in heads.project(features_nF).items()}
    concept = {name: gather(rows_nD) for name, rows_nD in heads.adapt(concepts).items()}
    there = {name: gather(has_n) for name, has_n in (has or {}).items()}
    return View(skeleton, concept, there)


def edge_targets(
    settings: ContrastSettings,
    alpha: float,
    edge: str,
    teacher: View,
    kept_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the targets (T, T') of both directions of an edge, each (N, N)."""
    a_ND, b_ND = teacher.ends(edge)
    intra_NN = back_intra_NN = inter_NN = back_inter_NN = None
    if settings.targets in ("intra", "both"):
        # The paper's guide is the concept; on the vision-language edge "skeleton" is the vision.
        intra_NN, back_intra_NN = (
            targets.intra(
                a_ND if guide == "skeleton" else b_ND,
                settings.temperature_intra,
                kept_N,
                settings.effective_targets,
            )
            for guide in (settings.forward_guide, settings.reverse_guide)
        )
    if settings.targets in ("inter", "both"):
        # A direction is taught by the opposite one, or by the same one of the other modality.
        x_ND, y_ND = b_ND, a_ND
        other = {"skeleton_language": "skeleton_vision", "skeleton_vision": "skeleton_language"}
        if settings.consistency == "cross" and edge in other:
            x_ND, y_ND = teacher.ends(other[edge])
        inter_NN = targets.inter(x_ND, y_ND, settings.temperature_inter, kept_N)
        back_inter_NN = targets.inter(y_ND, x_ND, settings.temperature_inter, kept_N)
    return (
        targets.mix(alpha, settings.beta, intra_NN, inter_NN, a_ND.detach()),
        targets.mix(alpha, settings.beta, back_intra_NN, back_inter_NN, a_ND.detach()),
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


def disentangled_loss(
    a_ND: Tensor,
    b_ND: Tensor,
    soft_NN: Tensor,
    back_soft_NN: Tensor,
    alpha: float,
    temperature: Tensor,
    kept_N: Tensor | None = None,
) -> Tensor:
    """``(1 - α) InfoNCE + α CE`` of the negatives alone, target and prediction without the pair.

    SoftCLIP (arXiv 2303.17561) disentangles the negatives, since the pair's own entry dominates a
    softened target; the weights are our reconstruction. Arguments as of :func:`edge_loss`; the
    targets are those of α = 1.
    """
    hard_NN = torch.eye(len(a_ND), dtype=a_ND.dtype, device=a_ND.device)
    pair = edge_loss(a_ND, b_ND, hard_NN, hard_NN, temperature, kept_N)
    logits_NN = a_ND @ b_ND.t() / temperature
    losses = []
    for target_NN, own_NN in ((soft_NN, logits_NN), (back_soft_NN, logits_NN.t())):
        others_NN = target_NN * (1 - hard_NN)
        others_NN = others_NN / others_NN.sum(1, keepdim=True).clamp_min(1e-12)
        least = torch.finfo(own_NN.dtype).min
        losses.append(_cross_entropy(others_NN, own_NN.masked_fill(hard_NN.bool(), least), kept_N))
    return (1 - alpha) * pair + alpha * (losses[0] + losses[1]) / 2


def edge_loss(
    a_ND: Tensor,
    b_ND: Tensor,
    t_NN: Tensor,
    t_back_NN: Tensor,
    temperature: Tensor,
    kept_N: Tensor | None = None,
) -> Tensor:
    """``½ [CE(T, softmax(a b^T / τ)) + CE(T', softmax(b a^T / τ))]``, the mean over kept rows.

    It is zero, with a gradient of zero, where fewer than two rows are kept: no negative is left.

    Args:
        a_ND: unit rows.
        b_ND: unit rows.
        t_NN: targets of a→b, rows sum to one.
        t_back_NN: targets of b→a.
        temperature: τ, a scalar tensor.
        kept_N: bool, the rows that take part; None: all.
    """
    logits_NN = a_ND @ b_ND.t() / temperature
    there = _cross_entropy(t_NN, logits_NN, kept_N)
    return (there + _cross_entropy(t_back_NN, logits_NN.t(), kept_N)) / 2


def _cross_entropy(t_NN: Tensor, logits_NN: Tensor, kept_N: Tensor | None) -> Tensor:
    log_p_NN = functional.log_softmax(targets.among(logits_NN, kept_N), dim=1)
    loss_N = -(t_NN * log_p_NN).sum(1)
    if kept_N is None:
        return loss_N.mean()
    return loss_N.where(kept_N, 0).sum() / kept_N.sum().clamp_min(1)


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
        kept_N = edge_rows(settings, edge, student)
        tau = heads.temperature(edge)
        if settings.disentangle and settings.targets != "hard":
            soft = edge_targets(settings, 1.0, edge, teacher or student, kept_N)
            parts[edge] = disentangled_loss(*student.ends(edge), *soft, alpha, tau, kept_N)
        else:
            t_NN, t_back_NN = edge_targets(settings, alpha, edge, teacher or student, kept_N)
            parts[edge] = edge_loss(*student.ends(edge), t_NN, t_back_NN, tau, kept_N)
        total = total + weight * parts[edge]
    return total, parts
