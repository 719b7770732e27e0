"""Our own optimizers: functions of parameter groups and settings."""

from __future__ import annotations

from typing import Any

import torch

from c2vl.training.optimizer_settings import AdamWSettings, SGDSettings

Groups = list[dict[str, Any]]


def sgd(groups: Groups, settings: SGDSettings) -> torch.optim.Optimizer:
    """SGD with momentum."""
    nesterov = settings.nesterov and settings.momentum > 0
    return torch.optim.SGD(groups, settings.lr, settings.momentum, nesterov=nesterov)


def adamw(groups: Groups, settings: AdamWSettings) -> torch.optim.Optimizer:
    """AdamW with PyTorch's betas."""
    return torch.optim.AdamW(groups, settings.lr)
