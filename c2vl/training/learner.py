"""What is trained: encoder, objective, their averaged copy, the optimizer and its learning rate.

Shapes: n sequences of this worker, F features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from c2vl.config.experiment import Experiment, OptimSettings
from c2vl.encoder import build
from c2vl.model.base import Backbone
from c2vl.objective.base import Batch, Objective, Sizes, Step
from c2vl.registry import find
from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError
from c2vl.training.device import Precision, precision


class Student(nn.Module):
    """Encoder and objective as one module: DistributedDataParallel sees one forward pass."""

    def __init__(
        self, encoder: Backbone, objective: Objective, precision: Precision | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.precision = precision or Precision()

    def encode(
        self, x_nMTVC: Tensor, present_nM: Tensor, slots_B: Tensor, maps: bool = False
    ) -> Tensor:
        """Return skeleton features (n, F) in float32, whatever the network computes in.

        With ``maps`` these are feature maps, (n, M, t, V, F).
        """
        with self.precision.autocast():
            how = {"maps": True} if maps else {}  # a backbone's own forward need not know it
            features_nF: Tensor = self.encoder(x_nMTVC, present_nM, slots_B, **how)
        return features_nF.float()

    def features(self, batch: Batch) -> Tensor:
        """Return what the objective reads, (n, F) or maps, of several views below each other."""
        parts = [self.encode(*part, self.objective.uses_maps) for part in batch.parts()]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

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
        device: where it computes.
    """

    def __init__(
        self,
        experiment: Experiment,
        layout: JointLayout,
        dims: Mapping[str, int],
        classes: int,
        steps: int,
        device: torch.device,
        sequences: int = 0,
    ) -> None:
        self.experiment, self.steps, self.device = experiment, steps, device
        torch.manual_seed(experiment.seed)
        encoder = build(layout, experiment.model.model_dump())
        kind: type[Objective] = find("objective", experiment.objective.name).load()
        places = _places(encoder, experiment.data.frames) if kind.uses_maps else (0, 0)
        objective = kind(experiment, Sizes(encoder.feature, dims, classes, sequences, places))
        train = experiment.train
        self.student = Student(encoder, objective, precision(train.precision, device)).to(device)
        if device.type == "cuda" and encoder.channels_last:
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._workers = dist.get_world_size() if dist.is_initialized() else 1
        shared_statistics = self._workers > 1 and device.type == "cuda"
        self._own_statistics = self._workers > 1 and not shared_statistics
        if shared_statistics:  # on CPU each worker has its own: PyTorch has none for it
            self.student = nn.SyncBatchNorm.convert_sync_batchnorm(self.student)
        # In evaluation mode, as it will be used: in training mode its batch statistics would follow
        # its own forward pass as well as the student's, and a step would depend on when it was last
        # validated, which puts it into evaluation mode.
        averaged = bool(train.ema) or objective.uses_average
        self.average = copy.deepcopy(self.student).eval() if averaged else None
        if train.compile:
            for model in filter(None, (self.student, self.average)):
                network: Any = model.encoder
                name = "feature_map" if kind.uses_maps else "bodies"
                setattr(network, name, torch.compile(getattr(network, name)))
        self.wrapped: nn.Module = self.student
        # DistributedDataParallel arranges gradients anew after its first step. Of more than two
        # workers the place of a gradient decides the order of its sum, so that the first step after
        # a restart differs in its last bits (7e-9 seen). A CPU gains nothing from its overlap.
        in_order = device.type == "cpu" and self._workers > 2
        if self._workers > 1 and train.accumulate == 1 and not in_order:
            # Gradients lie in the buffers that are sent. No static graph: an objective may branch.
            self.wrapped = DistributedDataParallel(
                self.student, gradient_as_bucket_view=True, broadcast_buffers=not shared_statistics
            )
        self.optimizer = self._optimizer()
        self._scaler = self.student.precision.scaler()

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
        """Do one optimizer step; the host waits for a GPU once, to read the figures.

        Returns:
            ``loss``, ``loss_PART`` of each part and, where it is clipped, ``grad_norm``. Where the
            loss is not finite the weights are spoilt, and the caller must end.
        """
        settings = self.experiment.optim
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step / self.steps)
        if not batch.slots:
            batch = batch.to(self.device, self.experiment.train.accumulate)
        self.optimizer.zero_grad(set_to_none=True)
        at = Step(self.progress(step), self._teacher(batch))
        loss, parts = self._backward(self.student.objective.seen(batch), at)
        found = {"loss": loss, **{f"loss_{name}": part for name, part in parts.items()}}
        if settings.clip:
            self._scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.student.parameters(), settings.clip)
            found["grad_norm"] = norm
        # Copied to the host in the order of the queue, so before the optimizer's kernels, which
        # the host goes on to queue meanwhile.
        values = torch.stack([value.detach().float() for value in found.values()])
        values = values.to("cpu", non_blocking=True)
        copied = torch.cuda.Event() if self.device.type == "cuda" else None
        if copied is not None:
            copied.record()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        with torch.no_grad():
            self.student.objective.after_step()
        self._update_average(step)
        if copied is not None:
            copied.synchronize()
        return dict(zip(found, values.tolist(), strict=True))

    def _backward(self, batch: Batch, at: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Leave the gradient of all workers' batches in the parameters; return loss and parts."""
        if self.experiment.train.accumulate > 1:
            loss, parts = self._backward_in_parts(batch, at)
        else:
            loss, parts = self.wrapped(batch, at)
            self._scaler.scale(loss).backward()
        if self._workers > 1 and self.wrapped is self.student:
            self._average_gradients()
        return loss, parts

    def _backward_in_parts(self, batch: Batch, at: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Leave this worker's gradient in the parameters (GradCache, Gao et al., RepL4NLP 2021).

        First the features of all parts without their graphs, then the loss of all features and its
        gradient with respect to them, then each part once more, through which that gradient passes.
        """
        begin = self._random_state()
        with torch.no_grad(), _statistics_kept(self.student):
            features_nF = self.student.features(batch)
        features_nF.requires_grad_()
        loss, parts = self.student.objective.loss(features_nF, batch, at)
        self._scaler.scale(loss).backward()
        assert features_nF.grad is not None, "a loss is a function of the features"
        self._random_state(begin)  # the same dropout as before
        by_view = features_nF.grad.chunk(len(batch.of_student))
        grads = [part for view in by_view for part in view.tensor_split(len(batch.slots))]
        for part, grad in zip(batch.parts(), grads, strict=True):
            self.student.encode(*part, self.student.objective.uses_maps).backward(grad)
        return loss, parts

    def _random_state(self, state: list[Tensor] | None = None) -> list[Tensor]:
        """Return the state of the generators that dropout draws from, or restore it."""
        generators = [torch.default_generator]
        if self.device.type == "cuda":
            generators.append(torch.cuda.default_generators[self.device.index or 0])
        for generator, saved in zip(generators, state or (), strict=False):
            generator.set_state(saved)
        return [generator.get_state() for generator in generators]

    def _average_gradients(self) -> None:
        """Replace gradients by their mean over workers, as DistributedDataParallel does."""
        grads = [value.grad for value in self.student.parameters() if value.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self._workers
        for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(mean.view_as(grad))

    def progress(self, step: int) -> float:
        """Return the share of training done at a step: 0 at the first, 1 at the last."""
        return step / max(self.steps - 1, 1)

    def _teacher(self, batch: Batch) -> tuple[Objective, Tensor] | None:
        if self.average is None or not self.student.objective.uses_average:
            return None
        self.average.train(self.student.objective.average_trains)
        with torch.no_grad(), _statistics_kept(self.average):
            features_nF = self.average.features(batch.of_teacher())
        self.average.eval()
        return self.average.objective, features_nF

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        if self.average is None:
            return
        # The average follows faster early on, so that the initial weights soon lose influence.
        wanted = self.experiment.train.ema or self.student.objective.decay
        decay = min(wanted, (1 + step) / (10 + step))
        pairs = zip(
            self.average.state_dict().values(), self.student.state_dict().values(), strict=True
        )
        means, values = [], []
        for mean, value in pairs:
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        get_ema_multi_avg_fn(decay)(means, values, 0)  # one kernel for all of them
        objective = self.student.objective
        if self._own_statistics and objective.uses_average and not objective.average_trains:
            self._share_statistics(self.average)

    def _share_statistics(self, model: nn.Module) -> None:
        """Give a model's batch norms the first worker's statistics on all of them.

        It teaches with them, and the first worker's are what a checkpoint holds: with each worker's
        own a resumed training would go on otherwise than one that was never stopped.
        """
        found = [norm.named_buffers(recurse=False) for norm in _batch_norms(model)]
        own = [value for norm in found for _, value in norm if value.is_floating_point()]
        if not own:  # a backbone of somebody else's may normalise otherwise
            return
        flat = torch.cat([value.flatten() for value in own])
        dist.broadcast(flat, src=0)
        for value, first in zip(own, flat.split([value.numel() for value in own]), strict=True):
            value.copy_(first.view_as(value))

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
        if self._scaler.is_enabled():
            state["scaler"] = self._scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.student.load_state_dict(_as_today(state["student"]))
        self.optimizer.load_state_dict(_only_trained(state["optimizer"], self.optimizer))
        if self.average is not None:
            self.average.load_state_dict(_as_today(state["average"]))
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])


def _places(encoder: Backbone, frames: int) -> tuple[int, int]:
    """Return t and V of an encoder's feature map."""
    with torch.no_grad():
        found = encoder.eval().feature_map(torch.zeros(1, frames, encoder.joints, 3))
    encoder.train()
    t, V = found.shape[1:3]
    if found.shape != (1, t, encoder.joints, encoder.feature):
        raise UserError(
            f"model.name: {type(encoder).__name__}.feature_map returns {tuple(found.shape)} for a "
            f"body; expected (1, t, {encoder.joints} joints, {encoder.feature} features)"
        )
    return t, V


def _batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms while the block runs."""
    norms = _batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _as_today(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a student's tensors today's names; earlier checkpoints have heads beside the encoder."""
    return {
        f"objective.{name}" if name.startswith("heads.") else name: value
        for name, value in state.items()
    }


def _only_trained(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's saved state as this one takes it.

    Earlier checkpoints list the parameters of unused edges too, which are frozen today. They have
    no entry in the state; where no parameter has one (SGD without momentum), any will do.
    """
    groups = []
    for saved, now in zip(state["param_groups"], optimizer.param_groups, strict=True):
        numbers, wanted = saved["params"], len(now["params"])
        if len(numbers) != wanted:
            numbers = [number for number in numbers if number in state["state"]] or numbers[:wanted]
        own = {key: now[key] for key in ("foreach", "fused") if key in now}  # as the device wants
        groups.append({**saved, **own, "params": numbers})
    return {**state, "param_groups": groups}
