"""What is trained: encoder, objective, their averaged copy, the optimizer and its learning rate.

Shapes: n sequences of this worker, F features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from c2vl.config.experiment import Experiment, OptimSettings
from c2vl.encoder import build
from c2vl.model.base import Backbone
from c2vl.objective.base import Batch, Objective, Sizes, Step
from c2vl.registry import find
from c2vl.skeletons.layout import JointLayout


class Student(nn.Module):
    """Encoder and objective as one module: DistributedDataParallel sees one forward pass."""

    def __init__(self, encoder: Backbone, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def features(self, batch: Batch) -> Tensor:
        """Return skeleton features (n, F)."""
        features_nF: Tensor = self.encoder(batch.x, batch.present)
        return features_nF

    def forward(self, batch: Batch, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar, and its named parts."""
        return self.objective.loss(self.features(batch), batch, step)


def learning_rate(settings: OptimSettings, progress: float) -> float:
    """Return the learning rate at a share of training done: linear warm-up, then decay."""
    if progress < settings.warmup:
        return settings.lr * max(progress / settings.warmup, 1e-3)
    if settings.decay == "step":
        return settings.lr * (0.1 if progress >= 250 / 300 else 1.0)
    if settings.decay == "cosine":
        done = (progress - settings.warmup) / (1 - settings.warmup)
        return settings.lr * (1 + math.cos(math.pi * done)) / 2
    return settings.lr


class Learner:
    """One worker's model, optimizer and averaged copy; steps them and saves them.

    Attributes:
        student: encoder and objective.
        average: their exponential moving average, or None.
        steps: number of optimizer steps of the whole training.
    """

    def __init__(
        self,
        experiment: Experiment,
        layout: JointLayout,
        dims: Mapping[str, int],
        classes: int,
        steps: int,
        device: torch.device,
    ) -> None:
        self.experiment, self.steps = experiment, steps
        torch.manual_seed(experiment.seed)
        encoder = build(layout, experiment.model.model_dump())
        sizes = Sizes(encoder.feature, dims, classes)
        objective = find("objective", experiment.objective.name).load()(experiment, sizes)
        self.student = Student(encoder, objective).to(device)
        self.average = copy.deepcopy(self.student) if experiment.train.ema else None
        self.wrapped: nn.Module = self.student
        if dist.is_initialized() and dist.get_world_size() > 1:
            if device.type == "cuda":
                self.student = nn.SyncBatchNorm.convert_sync_batchnorm(self.student)
            self.wrapped = DistributedDataParallel(self.student)
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        settings = self.experiment.optim
        decayed: list[Tensor] = []
        plain: list[Tensor] = []
        for value in self.student.parameters():
            if value.requires_grad:  # decay must not pull temperatures (scalars) towards one
                (decayed if value.ndim else plain).append(value)
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": settings.weight_decay}]
        if plain:
            groups.append({"params": plain, "weight_decay": 0.0})
        made: torch.optim.Optimizer = find("optimizer", settings.name).load()(groups, settings)
        return made

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one optimizer step; a non-finite loss changes nothing.

        Returns:
            ``loss``, ``loss_PART`` of each part and, where it is clipped, ``grad_norm``; the loss
            is NaN or infinite where it is so.
        """
        settings = self.experiment.optim
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step / self.steps)
        loss, parts = self.wrapped(batch, Step(self.progress(step), self._teacher(batch)))
        figures = {"loss": float(loss.detach())}
        figures |= {f"loss_{name}": float(part.detach()) for name, part in parts.items()}
        if not math.isfinite(figures["loss"]):
            return figures
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            norm = nn.utils.clip_grad_norm_(self.student.parameters(), settings.clip)
            figures["grad_norm"] = float(norm)
        self.optimizer.step()
        with torch.no_grad():
            self.student.objective.after_step()
        self._update_average(step)
        return figures

    def progress(self, step: int) -> float:
        """Return the share of training done at a step: 0 at the first, 1 at the last."""
        return step / max(self.steps - 1, 1)

    def _teacher(self, batch: Batch) -> tuple[Objective, Tensor] | None:
        if self.average is None or not self.student.objective.uses_average:
            return None
        with torch.no_grad():
            return self.average.objective, self.average.features(batch)

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        if self.average is None:
            return
        # The average follows faster early on, so that the initial weights soon lose influence.
        decay = min(self.experiment.train.ema, (1 + step) / (10 + step))
        for mean, now in zip(
            self.average.state_dict().values(), self.student.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    @property
    def evaluated(self) -> Student:
        """Return the model to score and export: the student, or its average if so configured."""
        if self.experiment.train.evaluate_ema and self.average is not None:
            return self.average
        return self.student

    def state_dict(self) -> dict[str, Any]:
        """Return all state that training changes."""
        state = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.student.load_state_dict(_as_today(state["student"]))
        self.optimizer.load_state_dict(_only_trained(state["optimizer"], self.optimizer))
        if self.average is not None:
            self.average.load_state_dict(_as_today(state["average"]))


def _as_today(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a student's tensors today's names; earlier checkpoints have heads beside the encoder."""
    return {
        f"objective.{name}" if name.startswith("heads.") else name: value
        for name, value in state.items()
    }


def _only_trained(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Drop parameters that never had a gradient from an optimizer's saved state.

    Earlier checkpoints list those of unused edges too, which are frozen today. They have no entry
    in the state; where no parameter has one (SGD without momentum), none need be told apart.
    """
    groups = []
    for saved, now in zip(state["param_groups"], optimizer.param_groups, strict=True):
        numbers, wanted = saved["params"], len(now["params"])
        if len(numbers) != wanted:
            numbers = [number for number in numbers if number in state["state"]] or numbers[:wanted]
        groups.append({**saved, "params": numbers})
    return {**state, "param_groups": groups}
