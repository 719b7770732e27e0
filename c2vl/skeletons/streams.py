"""Input streams of the lineage: joint, bone, motion. Torch alone."""

from __future__ import annotations

import torch
from torch import Tensor

from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError, did_you_mean

STREAMS = ("joint", "bone", "motion")


def to_stream(x_NMTVC: Tensor, stream: str, layout: JointLayout) -> Tensor:
    """Turn joints into a stream.

    Args:
        x_NMTVC: preprocessed joints, any leading dimensions before (T, V, 3).
        stream: ``joint`` (as they are), ``bone`` (child minus parent; the root's is zero) or
            ``motion`` (x[t+1] - x[t]; the last frame's is zero).
        layout: the joints' layout.

    Returns:
        A tensor of the same shape; the argument itself for ``joint``.

    Raises:
        UserError: no such stream.
    """
    if stream == "joint":
        return x_NMTVC
    if stream == "bone":
        parents = torch.tensor(layout.parents, device=x_NMTVC.device)
        return x_NMTVC - x_NMTVC.index_select(-2, parents)
    if stream == "motion":
        motion = torch.zeros_like(x_NMTVC)
        motion[..., :-1, :, :] = x_NMTVC[..., 1:, :, :] - x_NMTVC[..., :-1, :, :]
        return motion
    raise UserError(f'stream "{stream}" is not known{did_you_mean(stream, STREAMS)}')
