"""Gather features over all workers, with gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous()
        dist.all_reduce(total)
        rows = total.shape[0] // dist.get_world_size()
        first = dist.get_rank() * rows
        return total[first : first + rows]


def gather(local: Tensor) -> Tensor:
    """Stack the features of all workers in rank order; the identity with one worker.

    Every worker then computes the loss of the whole batch. The backward pass sums what all workers
    send back, which the mean over workers that follows (DistributedDataParallel) undoes, so that
    gradients equal those of one worker with the whole batch.

    Args:
        local: (N/k, D), the same shape on each of the k workers.

    Returns:
        (N, D).
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    gathered: Tensor = _Gather.apply(local)  # type: ignore[no-untyped-call]
    return gathered
