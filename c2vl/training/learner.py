"""What is trained: encoder, heads, their averaged copy, the optimizer and its learning rate."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from c2vl.config.experiment import Experiment, OptimSettings
from c2vl.encoder import build
from c2vl.model.heads import ConceptHeads, LabelHead
from c2vl.model.stgcn import STGCN
from c2vl.objective.loss import View, c2vl_loss, view
from c2vl.skeletons.layout import JointLayout
from c2vl.training.batches import Batch

Loss = tuple[Tensor, dict[str, Tensor]]


class Student(nn.Module):
    """Encoder and heads as one module, so that DistributedDataParallel sees one forward pass.

    The heads are the classifier alone in the supervised reference.
    """

    def __init__(self, encoder: STGCN, heads: ConceptHeads | LabelHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    def features(self, batch: Batch) -> Tensor:
        """Skeleton features (n, F)."""
        features: Tensor = self.encoder(batch.x, batch.present)
        return features

    def forward(self, batch: Batch, criterion: Callable[[Tensor], Loss]) -> Loss:
        """The loss of the global batch, and its parts, by a criterion of the features."""
        return criterion(self.features(batch))


def learning_rate(settings: OptimSettings, progress: float) -> float:
    """Learning rate at a share of training done: a linear rise, then the decay."""
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
        student: encoder and heads.
        average: their exponential moving average, or None.
        steps: optimizer steps that training has in all.
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
        self.student = Student(encoder, self._heads(dims, classes)).to(device)
        self.average = copy.deepcopy(self.student) if experiment.train.ema else None
        self.wrapped: nn.Module = self.student
        if dist.is_initialized() and dist.get_world_size() > 1:
            if device.type == "cuda":
                self.student = nn.SyncBatchNorm.convert_sync_batchnorm(self.student)
            self.wrapped = DistributedDataParallel(self.student)
        self.optimizer = self._optimizer()

    def _heads(self, dims: Mapping[str, int], classes: int) -> ConceptHeads | LabelHead:
        objective, feature = self.experiment.objective, self.experiment.model.feature
        if objective.supervised:
            return LabelHead(feature, classes)
        return ConceptHeads(
            feature,
            dims,
            temperature=objective.temperature,
            learn_temperature=objective.learn_temperature,
            floor=objective.temperature_floor,
            adapter=self.experiment.prompts.adapter,
        )

    def _optimizer(self) -> torch.optim.Optimizer:
        settings = self.experiment.optim
        decayed: list[Tensor] = []
        plain: list[Tensor] = []
        for name, value in self.student.named_parameters():
            if value.requires_grad:  # temperatures must not be pulled towards one by decay
                (plain if "log_temperature" in name else decayed).append(value)
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": settings.weight_decay}]
        if plain:
            groups.append({"params": plain, "weight_decay": 0.0})
        if settings.name == "adamw":
            return torch.optim.AdamW(groups, lr=settings.lr)
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(
            groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov
        )

    def step(self, batch: Batch, step: int, alpha: float) -> dict[str, float]:
        """Do one optimizer step; a non-finite loss changes nothing.

        Returns:
            ``loss``, ``loss_<edge>`` and, where it is clipped, ``grad_norm``; the loss is NaN or
            infinite where it is so.
        """
        settings = self.experiment.optim
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step / self.steps)
        loss, parts = self.wrapped(batch, self.criterion(batch, alpha))
        figures = {"loss": float(loss.detach())}
        figures |= {f"loss_{edge}": float(part.detach()) for edge, part in parts.items()}
        if not math.isfinite(figures["loss"]):
            return figures
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            norm = nn.utils.clip_grad_norm_(self.student.parameters(), settings.clip)
            figures["grad_norm"] = float(norm)
        self.optimizer.step()
        if isinstance(self.student.heads, ConceptHeads):
            self.student.heads.keep_floor()
        self._update_average(step)
        return figures

    def criterion(self, batch: Batch, alpha: float) -> Callable[[Tensor], Loss]:
        """The loss of the global batch as a function of this worker's features."""
        objective, heads = self.experiment.objective, self.student.heads
        if isinstance(heads, LabelHead):
            return lambda features: (heads.loss(features, batch.labels), {})
        teacher: View | None = None
        if objective.teacher == "ema" and self.average is not None:
            assert isinstance(self.average.heads, ConceptHeads)
            with torch.no_grad():
                features = self.average.features(batch)
                teacher = view(self.average.heads, features, batch.concepts, batch.has)

        def contrast(features: Tensor) -> Loss:
            student = view(heads, features, batch.concepts, batch.has)
            return c2vl_loss(objective, heads, student, alpha=alpha, teacher=teacher)

        return contrast

    def temperatures(self) -> dict[str, float]:
        """τ of each edge."""
        heads = self.student.heads
        if isinstance(heads, LabelHead):
            return {}
        return {edge: float(heads.temperature(edge)) for edge in heads.log_temperature}

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        if self.average is None:
            return
        # Young averages follow faster, so that the initial weights are soon forgotten.
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
        """What is scored and exported: the student, or its average where settings say so."""
        if self.experiment.train.evaluate_ema and self.average is not None:
            return self.average
        return self.student

    def state_dict(self) -> dict[str, Any]:
        """All that training changes."""
        state = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back."""
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
