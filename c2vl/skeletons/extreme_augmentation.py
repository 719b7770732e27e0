"""Extreme augmentation (AimCLR, Guo et al., AAAI 2022): what changes a motion's identity, too.

Draws and arithmetic are as in :mod:`c2vl.skeletons.augmentation`, which the rest is left to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from c2vl.skeletons.augmentation import augment
from c2vl.skeletons.layout import JointLayout

if TYPE_CHECKING:
    from c2vl.skeletons.augmentation_settings import ExtremeSettings

_RADIUS = 7  # frames; with the widths below that is AimCLR's blur, but its kernel sums to one
_WIDTHS = 0.1, 2.0  # frames


def extreme(
    x_NMTVC: Tensor,
    present_NM: Tensor,
    settings: ExtremeSettings,
    layout: JointLayout,
    generator: torch.Generator,
) -> Tensor:
    """Return an augmented copy; arguments as of :func:`c2vl.skeletons.augmentation.augment`."""
    x = augment(x_NMTVC, present_NM, settings, layout, generator)
    N, device = len(x), generator.device

    def chosen(probability: float) -> Tensor:
        return (torch.rand(N, generator=generator, device=device) < probability).to(x.device)

    def among_samples(mask_N: Tensor) -> Tensor:
        return mask_N[:, None, None, None, None]

    x = torch.where(among_samples(chosen(settings.reverse)), x.flip(2), x)
    low, high = _WIDTHS
    widths_N = low + (high - low) * torch.rand(N, generator=generator, device=device)
    blurred = blurred_over_time(x, widths_N.to(x.device))
    x = torch.where(among_samples(chosen(settings.blur)), blurred, x)
    axis_N = torch.randint(3, (N,), generator=generator, device=device).to(x.device)
    masked_N = chosen(settings.axis_mask)
    masked_N3 = masked_N[:, None] & (axis_N[:, None] == torch.arange(3, device=x.device))
    return x.masked_fill(masked_N3[:, None, None, None], 0)


def blurred_over_time(x_NMTVC: Tensor, widths_N: Tensor) -> Tensor:
    """Blur each sample over time by a Gaussian of its own width, in frames; ends are repeated."""
    T = x_NMTVC.shape[2]
    steps = torch.arange(-_RADIUS, _RADIUS + 1, device=x_NMTVC.device)
    kernel_NK = torch.softmax(-(steps**2) / (2 * widths_N[:, None] ** 2), dim=1)
    at_TK = (torch.arange(T, device=x_NMTVC.device)[:, None] + steps).clamp(0, T - 1)
    matrix_NTT = x_NMTVC.new_zeros(len(x_NMTVC), T, T)  # from all frames to each
    rows_TK = torch.arange(T, device=x_NMTVC.device)[:, None].expand_as(at_TK)
    for k in range(len(steps)):
        matrix_NTT[:, rows_TK[:, k], at_TK[:, k]] += kernel_NK[:, k, None].to(x_NMTVC)
    return torch.einsum("ntu,nmuvc->nmtvc", matrix_NTT, x_NMTVC)
