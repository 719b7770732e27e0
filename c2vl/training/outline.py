"""What a training says about itself when it begins: device, format, size, and how long it takes."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch.utils.flop_counter import FlopCounterMode

from c2vl.model.base import Backbone
from c2vl.support.progress import span
from c2vl.training.batches import TrainingSet
from c2vl.training.learner import Learner

SKIPPED, TIMED = 3, 10  # steps: the first allocate and compile, the next tell how long one takes


def outline(learner: Learner, source: TrainingSet, resident: Sequence[str]) -> list[str]:
    """Return what is about to happen, a line each.

    Args:
        learner: what is trained.
        source: what it is trained on.
        resident: the data that is kept on the device.
    """
    settings, device = learner.experiment.train, learner.device
    where = f"{os.uname().machine} CPU, {torch.get_num_threads()} thread(s)"
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
        where += f" with {' and '.join(resident)} in its memory" if resident else ""
    words = [where, learner.student.precision.name]
    words += ["compiled"] * settings.compile
    words += [f"a batch in {settings.accumulate} parts"] * (settings.accumulate > 1)
    if settings.workers > 1:
        words.append(f"one of {settings.workers} workers")
    weights = sum(value.numel() for value in learner.student.parameters() if value.requires_grad)
    size = [f"{weights:,} weights"]
    work = operations(learner.student.encoder, learner.experiment.data.frames)
    if work:
        bodies = float(source.present[source.pretrain].sum(1).double().mean())
        size.append(f"{work * bodies / 1e9:.3g} GFLOP a sequence, forward and backward")
    length = (
        f"{len(source.pretrain):,} sequences in {source.steps_per_epoch:,} steps of "
        f"{source.batch_size}, {settings.epochs} epochs"
    )
    lines = [", ".join(words), ", ".join(size), length]
    for modality, rows in source.concepts.items():
        if untold := rows.table.untold(learner.experiment.prompts.per_sample):
            lines.append(f"prompts.{modality}: {untold}")
    if device.type == "cpu" and torch.cuda.is_available():
        lines.append("a GPU is visible and not used: set train.gpus_per_worker=1 to use it")
    return lines


def operations(encoder: Backbone, frames: int) -> int:
    """Return the floating-point operations of a body, forward and backward; 0 if not countable.

    The backward pass counts as two forward passes. Nothing is computed: PyTorch's counter follows
    a copy without memory of its own.
    """
    key = (repr(encoder), encoder.joints, frames)
    if key not in _counted:
        _counted[key] = 0  # where a backbone of others does what has no meta version
        with suppress(Exception), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model = copy.deepcopy(encoder).to("meta").train()
            type(encoder).bodies(model, torch.zeros(2, frames, encoder.joints, 3, device="meta"))
            _counted[key] = 3 * int(counter.get_total_flops()) // 2
    return _counted[key]


_counted: dict[tuple[str, int, int], int] = {}  # a process trains one architecture many times


class Pace:
    """Tells from a start's first steps how long its epochs will take.

    Args:
        steps_per_epoch: of the training.
        left: steps that are left.
    """

    def __init__(self, steps_per_epoch: int, left: int) -> None:
        self._epoch, self._left, self._done, self._began = steps_per_epoch, left, 0, 0.0

    def step(self) -> str | None:
        """Count a step; return the line at the one that ends the measurement."""
        self._done += 1
        if self._done == SKIPPED:
            self._began = time.perf_counter()
        if self._done != SKIPPED + TIMED:
            return None
        each = (time.perf_counter() - self._began) / TIMED
        total = each * (self._left - self._done)
        return f"an epoch takes about {span(each * self._epoch)}, what is left {span(total)}"
