"""Augmentation of a batch of joints, with a draw of its own for every sample. Torch alone.

Works on the joint stream; a stream is taken after it. Both bodies of a sample share the draw, so
that what they do to each other survives. Geometry acts about the origin, which preprocessing puts
at the centre joint. The draws come from the generator's device, a CPU's in training, and the
arithmetic is done where the joints are: a GPU gives the numbers of a CPU to 1e-6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from c2vl.skeletons.layout import JointLayout

if TYPE_CHECKING:
    from c2vl.skeletons.augmentation_settings import GeometricSettings


def augment(
    x_NMTVC: Tensor,
    present_NM: Tensor,
    settings: GeometricSettings,
    layout: JointLayout,
    generator: torch.Generator,
) -> Tensor:
    """Return an augmented copy (the argument itself where every setting is 0).

    Args:
        x_NMTVC: preprocessed joints, float.
        present_NM: bool, which body slots hold a body; the others come back exactly zero. It may
            lie on a CPU while the joints do not.
        settings: what to do, and how much of it.
        layout: the joints' layout (mirror).
        generator: the source of all draws; its state alone decides them.

    Returns:
        (N, M, T, V, 3).
    """
    x = x_NMTVC
    if settings.crop_padding:
        x = temporal_crop(x, settings.crop_padding, generator)
    if settings.mirror:
        x = mirror(x, settings.mirror, layout, generator)
    turn = _linear_maps(x, settings, generator)
    if turn is not None:
        x = mapped(x, turn)
    if settings.noise:
        x = joint_noise(x, settings.noise, generator)
    if settings.joint_mask:
        keep = _uniform((len(x), x.shape[3]), generator) >= settings.joint_mask
        x = x * keep[:, None, None, :, None].to(x.device)
    if x is x_NMTVC or bool(present_NM.all()):
        return x
    return x * present_NM[:, :, None, None, None].to(x.device)


def temporal_crop(x_NMTVC: Tensor, padding: float, generator: torch.Generator) -> Tensor:
    """Reflect ``int(T * padding)`` frames onto both ends and cut a window of T frames (AimCLR)."""
    count, bodies, length = x_NMTVC.shape[:3]
    pad = int(length * padding)
    starts = torch.randint(-pad, pad + 1, (count, 1), generator=generator, device=generator.device)
    at = starts + torch.arange(length, device=generator.device)
    at = torch.where(at < 0, -at - 1, at)  # the edge frame is repeated, as there
    at = torch.where(at >= length, 2 * length - 1 - at, at).to(x_NMTVC.device)
    slots = torch.arange(count * bodies, device=x_NMTVC.device).view(count, bodies, 1) * length
    rows = (slots + at[:, None]).flatten()
    flat = x_NMTVC.reshape(count * bodies * length, -1)
    return flat.index_select(0, rows).reshape(x_NMTVC.shape)


def mirror(
    x_NMTVC: Tensor, probability: float, layout: JointLayout, generator: torch.Generator
) -> Tensor:
    """Swap left and right joints and negate x, in whole samples, with the given probability."""
    chosen = (_uniform((len(x_NMTVC),), generator) < probability).to(x_NMTVC.device)
    order = torch.tensor(layout.mirrored, device=x_NMTVC.device)
    flip = x_NMTVC.new_tensor([-1.0, 1.0, 1.0])
    mirrored = x_NMTVC.index_select(3, order) * flip
    return torch.where(chosen[:, None, None, None, None], mirrored, x_NMTVC)


def joint_noise(x_NMTVC: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise to bodies, in the frames in which they are there."""
    noise = torch.randn(x_NMTVC.shape, generator=generator, device=generator.device)
    there = x_NMTVC.ne(0).flatten(3).any(dim=3)
    return x_NMTVC + std * noise.to(x_NMTVC) * there[..., None, None]


def mapped(x_NMTVC: Tensor, maps_N33: Tensor) -> Tensor:
    """Map the row vectors of each sample."""
    x_NP3, maps_N33 = x_NMTVC.reshape(len(x_NMTVC), -1, 3), maps_N33.to(x_NMTVC)
    if not x_NMTVC.is_cuda:
        # Transposed, MKL takes a third of the time for the same bits; the copy costs another.
        found_N3P = maps_N33.transpose(1, 2) @ x_NP3.transpose(1, 2)
        return found_N3P.transpose(1, 2).reshape(x_NMTVC.shape)
    return _by_axis(x_NP3, maps_N33).reshape(x_NMTVC.shape)


def _by_axis(x_NP3: Tensor, maps_N33: Tensor) -> Tensor:
    """The same product from sums of three, which TF32 does not round."""
    terms = (x_NP3[..., axis, None] * maps_N33[:, None, axis] for axis in range(3))
    return sum(terms, start=torch.zeros_like(x_NP3))


def _linear_maps(
    x: Tensor, settings: GeometricSettings, generator: torch.Generator
) -> Tensor | None:
    """Return (N, 3, 3) maps of row vectors: scale, then rotation, then shear; None for identity.

    They lie where they were drawn.
    """
    turn: Tensor | None = None
    if settings.scale:
        factor = 1 + settings.scale * _signed((len(x), 1, 1), generator, x.dtype)
        turn = factor * torch.eye(3, device=factor.device, dtype=x.dtype)
    if settings.rotation:
        angles = settings.rotation * _signed((len(x), 3), generator, x.dtype)
        turn = _then(turn, rotations(angles))
    if settings.shear:
        shear = settings.shear * _signed((len(x), 3, 3), generator, x.dtype)
        shear.diagonal(dim1=1, dim2=2).fill_(1)
        turn = _then(turn, shear)
    return turn


def _then(first: Tensor | None, second: Tensor) -> Tensor:
    return second if first is None else first @ second


def rotations(angles_N3: Tensor) -> Tensor:
    """Return (N, 3, 3) rotations of row vectors about x, then y, then z, from angles in radians."""
    cos, sin = angles_N3.cos().unbind(1), angles_N3.sin().unbind(1)
    turn = torch.eye(3, device=angles_N3.device, dtype=angles_N3.dtype)
    maps = turn.expand(len(angles_N3), 3, 3)
    for axis in range(3):
        a, b = [other for other in range(3) if other != axis]
        one = turn.repeat(len(angles_N3), 1, 1)
        one[:, a, a] = one[:, b, b] = cos[axis]
        one[:, a, b], one[:, b, a] = sin[axis], -sin[axis]
        maps = maps @ one
    return maps


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _signed(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    return (2 * _uniform(shape, generator) - 1).to(dtype)
