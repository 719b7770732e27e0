"""Measures how long a training takes and how much it writes, by some steps and one validation."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from c2vl.training import checkpoint
from c2vl.training.batches import TrainingSet, stream_batches
from c2vl.training.learner import Learner
from c2vl.training.validation import embedded, validate

WARM_UP, STEPS, SECONDS = 2, 40, 10.0


@dataclass(frozen=True)
class Calibration:
    """Measurements of one worker.

    Attributes:
        load: seconds to open the data and build the model.
        step: seconds of an optimizer step.
        steps: of an epoch.
        evaluation: seconds of a validation.
        checkpoint: seconds of writing one.
        checkpoint_bytes: its size.
    """

    load: float
    step: float
    steps: int
    evaluation: float
    checkpoint: float
    checkpoint_bytes: int

    def training(self, experiment: Experiment, epochs: float) -> float:
        """Return the seconds of so many epochs, with their validations and checkpoints."""
        settings = experiment.train
        evaluated = epochs / settings.evaluate_every * self.evaluation
        written = epochs / settings.checkpoint_every * self.checkpoint
        return self.load + epochs * self.steps * self.step + evaluated + written


def calibrate(experiment: Experiment) -> Calibration:
    """Train an experiment for some steps in this process, then validate and save it once.

    Of several workers this measures one with its share of the batch, without the time that workers
    wait for each other. The checkpoint is written into a temporary folder.

    Raises:
        UserError: data and settings do not fit, or a GPU is asked for and none is here.
    """
    settings = experiment.train
    on_gpu = settings.gpus_per_worker > 0
    if on_gpu and not torch.cuda.is_available():
        raise UserError(
            "--calibrate: train.gpus_per_worker asks for a GPU, and none is visible here; run it "
            "on a machine that has one"
        )
    device = torch.device("cuda" if on_gpu else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(settings.cpus_per_worker)))
    try:
        return _measure(experiment, device)
    finally:
        torch.set_num_threads(before)


def _measure(experiment: Experiment, device: torch.device) -> Calibration:
    began = time.perf_counter()
    source = TrainingSet(experiment)
    dims = {name: rows.shape[2] for name, rows in source.concepts.items()}
    steps = experiment.train.epochs * source.steps_per_epoch
    classes = len(source.store.class_names)
    learner = Learner(experiment, source.layout, dims, classes, steps, device)
    source.move(device)
    load = time.perf_counter() - began

    learner.student.train()
    some = min(steps, WARM_UP + STEPS)
    warm, first, done = min(WARM_UP, some - 1), time.perf_counter(), 0
    for step, (batch, _) in enumerate(stream_batches(source, 0, some, 0)):
        if step == warm:
            first = time.perf_counter()
        learner.step(batch, step)  # it reads the loss, so a GPU is waited for
        done = step + 1
        if step >= warm and time.perf_counter() - first > SECONDS:
            break
    taken = (time.perf_counter() - first) / (done - warm)

    began = time.perf_counter()
    validate(source, learner.evaluated, embedded(source, learner.evaluated))
    evaluation = time.perf_counter() - began
    with tempfile.TemporaryDirectory(prefix="c2vl-calibrate-") as folder:
        state = {"step": some, "sums": {}, "learner": learner.state_dict()}
        began = time.perf_counter()
        path = checkpoint.save(Path(folder), state, step=some, keep=1)
        written, size = time.perf_counter() - began, path.stat().st_size
    return Calibration(load, taken, source.steps_per_epoch, evaluation, written, size)
