"""Masked motion prediction: most places of a body are hidden, and their motion is predicted.

MAMP: Mao et al., "Masked Motion Predictors are Strong 3D Action Representation Learners" (ICCV
2023). There a transformer encodes the visible places alone. A graph convolution needs all places,
so hidden joints are 0; as in graph autoencoders (GraphMAE) their features are hidden from the
decoder too, so that it has to read the visible ones. No prompts; a reference for C²VL.

Shapes: n sequences of this worker, M body slots, T frames, V joints, C coordinates, F features,
t steps in time of the feature map, r = ceil(T / t) frames of each, D = r·C numbers a place, and
L = t·V places.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from c2vl.objective.base import Batch, Objective, Sizes, Step
from c2vl.objective.settings import MaskedMotionSettings

if TYPE_CHECKING:
    from c2vl.config.experiment import Experiment

_HEAD = 32
"""Numbers of a head of the decoder's attention, as in MAMP; more where F has no such divisor."""


def segments(x_nMTVC: Tensor, steps: int) -> Tensor:
    """Cut the motion to the next frame, that of the last being 0, into places (n, M, t, V, D)."""
    frames = x_nMTVC.shape[2]
    each = math.ceil(frames / steps)
    motion = functional.pad(x_nMTVC.diff(dim=2), (0, 0, 0, 0, 0, each * steps - frames + 1))
    n, M, _, V, C = x_nMTVC.shape
    return motion.view(n, M, steps, each, V, C).transpose(3, 4).flatten(4)


def normalised(motion_nMtVD: Tensor) -> Tensor:
    """Take each place's mean and deviation from its motion; the floor lets still joints be still.

    1e-6 is the square of a millimetre a frame.
    """
    mean = motion_nMtVD.mean(-1, keepdim=True)
    variance = motion_nMtVD.var(-1, keepdim=True)
    return (motion_nMtVD - mean) / (variance + 1e-6).sqrt()


def draw_mask(motion_nMtVD: Tensor, ratio: float, temperature: float) -> Tensor:
    """Choose the places to hide, without replacement and likelier where there is much motion.

    Args:
        motion_nMtVD: of all places.
        ratio: of the places of each body; at least one stays visible, at least one is hidden.
        temperature: of the softmax over the places' motion, relative to the largest of the body.

    Returns:
        (n, M, t, V) bool.
    """
    amount_nML = motion_nMtVD.abs().mean(-1).flatten(2)
    largest = amount_nML.amax(-1, keepdim=True).clamp_min(1e-10)
    logits_nML = amount_nML / (temperature * largest)  # a softmax shifts them all alike
    gumbel_nML = -torch.empty_like(logits_nML).exponential_().log()
    hidden = min(max(1, int(amount_nML.shape[-1] * ratio)), amount_nML.shape[-1] - 1)
    chosen = (logits_nML + gumbel_nML).topk(hidden, dim=-1).indices
    mask_nML = torch.zeros_like(amount_nML, dtype=torch.bool).scatter_(-1, chosen, True)
    return mask_nML.view(motion_nMtVD.shape[:4])


def hide(x_nMTVC: Tensor, mask_nMtV: Tensor) -> Tensor:
    """Replace hidden joints by 0, for all frames of their place."""
    each = math.ceil(x_nMTVC.shape[2] / mask_nMtV.shape[2])
    mask_nMTV = mask_nMtV.repeat_interleave(each, dim=2)[:, :, : x_nMTVC.shape[2]]
    return x_nMTVC.masked_fill(mask_nMTV[..., None], 0)


def masked_error(
    predicted_nMtVD: Tensor, target_nMtVD: Tensor, mask_nMtV: Tensor, present_nM: Tensor
) -> Tensor:
    """Return the squared error of hidden places: their mean in each sequence, then over these."""
    counted_nMtV = mask_nMtV & present_nM[:, :, None, None]
    error_nMtV = (predicted_nMtVD - target_nMtVD).square().mean(-1) * counted_nMtV
    return (error_nMtV.flatten(1).sum(1) / counted_nMtV.flatten(1).sum(1)).mean()


class MaskedMotion(Objective):
    """Hides places of each body and predicts their motion from the features of the others."""

    uses_maps = True

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.settings = settings = cast(MaskedMotionSettings, experiment.objective)
        F, (t, V) = sizes.feature, sizes.places
        self.steps = t
        self.embed = nn.Linear(F, F)
        self.hidden_F = nn.Parameter(0.02 * torch.randn(F))
        self.time_t1F = nn.Parameter(0.02 * torch.randn(t, 1, F))
        self.joint_VF = nn.Parameter(0.02 * torch.randn(V, F))
        layer = nn.TransformerEncoderLayer(
            d_model=F,
            nhead=math.gcd(F, max(1, F // _HEAD)),
            dim_feedforward=4 * F,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerEncoder(
            layer, settings.decoder_layers, nn.LayerNorm(F), enable_nested_tensor=False
        )
        self.predict = nn.Linear(F, math.ceil(experiment.data.frames / t) * 3)

    def seen(self, batch: Batch) -> Batch:
        """Hide places of each body; the whole joints are the first view."""
        ratio, temperature = self.settings.mask_ratio, self.settings.temperature
        mask = draw_mask(segments(batch.x, self.steps), ratio, temperature)
        return replace(batch, x=hide(batch.x, mask), views=(batch.x,), mask=mask)

    def loss(
        self, features_nF: Tensor, batch: Batch, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of the motion predicted at hidden places, a mean over rows."""
        predicted = self.decode(features_nF, batch.mask)
        target = normalised(segments(batch.views[0], self.steps))
        return masked_error(predicted, target, batch.mask, batch.present), {}

    def decode(self, map_nMtVF: Tensor, mask_nMtV: Tensor) -> Tensor:
        """Predict the motion (n, M, t, V, D) of all places from the features of visible ones."""
        known = torch.where(mask_nMtV[..., None], self.hidden_F, self.embed(map_nMtVF))
        places = (known + self.time_t1F + self.joint_VF).flatten(0, 1).flatten(1, 2)
        predicted: Tensor = self.predict(self.decoder(places))
        return predicted.view(*mask_nMtV.shape, -1)
