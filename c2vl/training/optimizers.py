"""Our own optimizers: functions of parameter groups and settings.

On a GPU one fused kernel updates all parameters. On a CPU they stay as they were, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch

from c2vl.training.optimizer_settings import AdamWSettings, SGDSettings

Groups = list[dict[str, Any]]


def sgd(groups: Groups, settings: SGDSettings) -> torch.optim.Optimizer:
    """SGD with momentum."""
    nesterov = settings.nesterov and settings.momentum > 0
    return torch.optim.SGD(
        groups, settings.lr, settings.momentum, nesterov=nesterov, fused=_fused(groups)
    )


def adamw(groups: Groups, settings: AdamWSettings) -> torch.optim.Optimizer:
    """AdamW with PyTorch's betas."""
    return torch.optim.AdamW(groups, settings.lr, fused=_fused(groups))


def _fused(groups: Groups) -> bool | None:
    """Return True where all parameters are on a GPU, else None: PyTorch's own choice."""
    return all(value.is_cuda for group in groups for value in group["params"]) or None
