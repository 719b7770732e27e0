"""Gather features over all workers, with gradient.

Shapes: n sequences of this worker, N of all workers, D numbers each.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_nD: Tensor) -> Tensor:
        whole_ND = rows_nD.new_empty(dist.get_world_size() * rows_nD.shape[0], *rows_nD.shape[1:])
        dist.all_gather_into_tensor(whole_ND, rows_nD.contiguous())
        return whole_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total_ND = grads[0].contiguous()
        dist.all_reduce(total_ND)
        n = total_ND.shape[0] // dist.get_world_size()
        first = dist.get_rank() * n
        return total_ND[first : first + n]


def gather(rows_nD: Tensor) -> Tensor:
    """Stack the rows of all workers in rank order; the identity with one worker.

    Every worker then computes the loss of the whole batch. The backward pass sums what all workers
    send back, which the mean over workers that follows (DistributedDataParallel) undoes, so that
    gradients equal those of one worker with the whole batch.

    Args:
        rows_nD: the same shape on each worker; (n,) and bool will do too.

    Returns:
        (N, D).
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return rows_nD
    gathered_ND: Tensor = _Gather.apply(rows_nD)  # type: ignore[no-untyped-call]
    return gathered_ND
