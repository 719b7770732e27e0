"""SkeletonCLR and AimCLR: contrast of views of one skeleton. No prompts; references for C²VL.

SkeletonCLR: Li et al., "3D Human Action Representation Learning via Cross-View Consistency
Pursuit" (CVPR 2021). AimCLR: Guo et al., "Contrastive Learning from Extremely Augmented Skeleton
Sequences for Self-Supervised Action Recognition" (AAAI 2022). Its drop module (EADM) is left out,
since it needs feature maps from within a backbone; the divergence of the extreme view has all of
the weight that it shares there with the dropped one.

Shapes: n sequences of this worker, N of all workers, F features, P projection, Q keys of the queue,
L = 1 + Q logits, the own key's first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from c2vl.objective.base import Batch, Objective, Sizes, Step
from c2vl.objective.gather import gather
from c2vl.objective.settings import AimCLRSettings, SkeletonCLRSettings

if TYPE_CHECKING:
    from c2vl.config.experiment import Experiment

_SHARE = 0.8
"""Of the training sequences: 32,768 keys of the 40,091 of NTU RGB+D 60, cross-subject."""


def key_logits(q_nP: Tensor, k_nP: Tensor, queue_QP: Tensor, temperature: float) -> Tensor:
    """Return similarities with the own key and those of the queue, over τ, (n, L)."""
    own_n1 = (q_nP * k_nP).sum(1, keepdim=True)
    return torch.cat([own_n1, q_nP @ queue_QP.t()], dim=1) / temperature


def contrast(logits_nL: Tensor, positive_nL: Tensor | None = None) -> Tensor:
    """``-log Σ_positive softmax``, the mean over rows; InfoNCE where only the own key is positive.

    Args:
        positive_nL: bool; None: the first alone.
    """
    log_p_nL = functional.log_softmax(logits_nL, dim=1)
    if positive_nL is None:
        return -log_p_nL[:, 0].mean()
    return -log_p_nL.masked_fill(~positive_nL, -torch.inf).logsumexp(1).mean()


def divergence(logits_nL: Tensor, of_extreme_nL: Tensor) -> Tensor:
    """D³M: cross-entropy of the extreme view's distribution to the usual one's, held fixed."""
    p_nL = logits_nL.detach().softmax(1)
    return -(p_nL * functional.log_softmax(of_extreme_nL, dim=1)).sum(1).mean()


def mined(count: int, *views: Tensor) -> Tensor:
    """Return the positives (n, L): the own key, and the ``count`` nearest of each view (NNM)."""
    positive_nL = torch.zeros_like(views[0], dtype=torch.bool)
    positive_nL[:, 0] = True
    for logits_nL in views:
        nearest = logits_nL[:, 1:].topk(min(count, logits_nL.shape[1] - 1)).indices + 1
        positive_nL.scatter_(1, nearest, True)
    return positive_nL


class SkeletonCLR(Objective):
    """Momentum contrast of two views of a skeleton; the key encoder is the averaged model."""

    queue_QP: Tensor
    oldest: Tensor
    uses_average = True
    # By running statistics keys lie elsewhere than queries: on UTD-MHAD all features then became
    # one (effective rank 1.1 after 45 epochs).
    average_trains = True

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.settings = settings = cast(SkeletonCLRSettings, experiment.objective)
        F, P = sizes.feature, settings.projection
        self.head = nn.Sequential(nn.Linear(F, F), nn.ReLU(), nn.Linear(F, P))
        length = min(settings.queue, max(2, int(_SHARE * sizes.sequences)))
        self.register_buffer("queue_QP", functional.normalize(torch.randn(length, P)))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))
        self._new_keys_NP: Tensor | None = None

    def loss(
        self, features_nF: Tensor, batch: Batch, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return InfoNCE of query and key, the mean over this worker's rows."""
        return contrast(self._logits(features_nF, step)[0]), {}

    def _logits(self, features_nF: Tensor, step: Step) -> list[Tensor]:
        """Return the logits (n, L) of each of the student's views, and remember the keys."""
        assert step.teacher is not None, "the learner keeps an average"
        averaged, key_features_nF = step.teacher
        with torch.no_grad():
            k_nP = functional.normalize(cast(SkeletonCLR, averaged).head(key_features_nF))
            self._new_keys_NP = gather(k_nP)
        q_VnP = functional.normalize(self.head(features_nF)).split(len(k_nP))
        tau = self.settings.temperature
        return [key_logits(q_nP, k_nP, self.queue_QP, tau) for q_nP in q_VnP]

    def after_step(self) -> None:
        """Put the keys of the step into the queue, in place of the oldest."""
        if self._new_keys_NP is None:
            return
        keys_NP = self._new_keys_NP[-len(self.queue_QP) :]
        steps = torch.arange(len(keys_NP), device=keys_NP.device)
        self.queue_QP[(self.oldest + steps) % len(self.queue_QP)] = keys_NP
        self.oldest.add_(len(keys_NP)).remainder_(len(self.queue_QP))
        self._new_keys_NP = None


class AimCLR(SkeletonCLR):
    """SkeletonCLR, an extreme view that follows the usual one, and mined positives later on."""

    def loss(
        self, features_nF: Tensor, batch: Batch, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the contrast plus the divergence of the extreme view."""
        usual_nL, extreme_nL = self._logits(features_nF, step)
        positive_nL = None
        if step.progress >= 0.5:  # the paper mines from epoch 150 of 300
            count = cast(AimCLRSettings, self.settings).neighbours
            positive_nL = mined(count, usual_nL, extreme_nL)
        return contrast(usual_nL, positive_nL) + divergence(usual_nL, extreme_nL), {}
