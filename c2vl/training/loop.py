"""The training loop of one worker: load, then while not done: step, checkpoint, validate, log.

It knows nothing of Ray or MLflow. Whoever launches it passes a :class:`Session`: where the run's
folder is, which worker this is, and a function that receives the figures of each epoch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from c2vl.config.experiment import Experiment
from c2vl.config.reading import dump
from c2vl.encoder import save_encoder
from c2vl.encoder.card import UNKNOWN_LICENCE
from c2vl.registry import find
from c2vl.support.errors import TrainingError, UserError
from c2vl.training import checkpoint, figures
from c2vl.training.batches import TrainingSet, stream_batches
from c2vl.training.concept_space import concept_spaces
from c2vl.training.device import told_plainly
from c2vl.training.learner import Learner, learning_rate
from c2vl.training.metrics_file import MetricsFile
from c2vl.training.outline import Pace, outline
from c2vl.training.run_folder import RunFolder
from c2vl.training.system_usage import Usage
from c2vl.training.validation import embedded, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What a launcher gives a worker.

    Attributes:
        run: the run's folder, the same for all workers, or a copy of it.
        report: called with the figures of each epoch (on every worker, as Ray Train requires).
        rank: number of this worker.
        device: where tensors live.
        threads: torch threads; fixed, since sums over threads differ in their last bits.
        node_leaves: asked after each step by rank 0, whether to save a checkpoint.
    """

    run: RunFolder
    report: Callable[[dict[str, Any]], None]
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int = 1
    node_leaves: Callable[[], bool] = lambda: False


def train(experiment: Experiment, session: Session) -> dict[str, Any]:
    """Train one encoder, or resume from the run folder's last checkpoint.

    Returns:
        The figures of the last epoch.

    Raises:
        UserError: settings, store, prompts and device do not fit each other.
        TrainingError: the loss is not finite, or the device has no memory left.
    """
    with told_plainly(session.run.path.name, session.device):
        return _train(experiment, session)


def _train(experiment: Experiment, session: Session) -> dict[str, Any]:
    # --- load ---------------------------------------------------------------------------------
    torch.set_num_threads(session.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    run, settings, lead = session.run, experiment.train, session.rank == 0
    source = TrainingSet(experiment)
    dims = {name: rows.shape[2] for name, rows in source.concepts.items()}
    steps = settings.epochs * source.steps_per_epoch
    classes = len(source.store.class_names)
    size = len(source.pretrain)
    learner = Learner(experiment, source.layout, dims, classes, steps, session.device, size)
    if lead:  # only now: settings that do not fit the data must not claim a folder
        run.claim(dump(experiment))
    resident = source.move(session.device)
    tally = Tally()
    first = 0
    state, unreadable = checkpoint.latest(run.checkpoints)
    for line in unreadable:
        log.warning(line)
    if lead:
        run.warn(unreadable)
    if state is not None:
        learner.load_state_dict(state["learner"])
        first = state["step"]
        tally.load(state)
        log.info("%s: goes on from step %d of %d", run.path.name, first, steps)
    metrics = MetricsFile(run.metrics, (state or {}).get("metrics", "")) if lead else None
    if lead:
        run.say(outline(learner, source, resident))
    usage = Usage(session.device) if settings.system_metrics else None
    pace = Pace(source.steps_per_epoch, steps - first)

    # --- step ---------------------------------------------------------------------------------
    last: dict[str, Any] = metrics.rows[-1] if metrics and metrics.rows else {}
    batches = stream_batches(source, first, steps, session.rank)
    for step, (batch, waited) in enumerate(batches, start=first):
        # Dropout is the one draw outside the batch; a seed a step needs no state to resume.
        torch.manual_seed((experiment.seed * 1_000_003 + step) * 4099 + session.rank)
        learner.student.train()
        found = learner.step(batch, step)
        if not math.isfinite(found["loss"]):
            raise TrainingError(
                f"{run.path.name}: the loss is {found['loss']} at step {step} (epoch "
                f"{step // source.steps_per_epoch + 1}); lower optim.lr, raise "
                "objective.temperature, or set optim.clip"
                + (" or another train.precision" if settings.precision == "fp16" else "")
            )
        tally.add(found, waited, len(batch.x) * settings.workers)
        if (estimate := pace.step()) and lead:
            run.say([estimate])
        done = step + 1
        epoch, place = divmod(done, source.steps_per_epoch)

        # --- validate and log, at the end of an epoch -----------------------------------------
        if place == 0:
            last = {"epoch": epoch, "step": done, **tally.figures()}
            last["lr"] = learning_rate(experiment.optim, step / steps)
            last |= learner.student.objective.figures(learner.progress(step))
            if epoch % settings.evaluate_every == 0 or epoch == settings.epochs:
                features_SF = embedded(source, learner.evaluated)
                if lead:
                    last |= validate(source, learner.evaluated, features_SF)
                if settings.workers > 1:
                    dist.barrier()
            tally = Tally()
            if usage is not None:
                last |= usage.figures()
            if metrics is not None:
                last = metrics.add(last)
                run.send_figures()

        # --- checkpoint, before the report, which may end the run ---------------------------------
        by_epoch = place == 0 and (epoch % settings.checkpoint_every == 0 or done == steps)
        by_step = settings.checkpoint_steps and done % settings.checkpoint_steps == 0
        if metrics is not None and (by_epoch or by_step or session.node_leaves()):
            state = {"step": done, **tally.state(), "learner": learner.state_dict()}
            state["metrics"] = metrics.text()
            checkpoint.save(run.checkpoints, state, step=done, keep=settings.keep_checkpoints)
            run.send(run.checkpoints)
        if place == 0:
            session.report(last)

    # --- export the encoder -------------------------------------------------------------------
    if lead:
        export(learner, source, last, run.encoder)
        run.send(run.encoder)
    return last


class Tally:
    """Sums over an epoch; they are part of the checkpoint, so a resumed epoch is right."""

    # What a step may not return: columns of a row that are not means over steps, and own sums.
    _OWN = {one for one in figures.names() if figures.describe(one).when != "step"} | {
        "steps", "waited", "samples", *figures.COUNTERS
    }  # fmt: skip

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._last = time.perf_counter()

    def add(self, step: dict[str, float], waited: float, samples: int) -> None:
        """Add one step's figures, the seconds waited for its batch, and its samples."""
        if taken := self._OWN & step.keys():
            raise UserError(
                f"objective: it returns {min(taken)}, which the loop reports; rename it"
            )
        now = time.perf_counter()
        own = {"steps": 1, "waited": waited, "samples": samples, "seconds": now - self._last}
        for name, value in {**step, **own}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._last = now

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the sums, for a checkpoint."""
        return {"sums": self._sums, "counts": self._counts}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a saved state; a checkpoint without counts had every figure in every step."""
        self._sums = state["sums"]
        steps = int(self._sums.get("steps", 0))
        self._counts = state.get("counts", dict.fromkeys(self._sums, steps))

    def figures(self) -> dict[str, float]:
        """The mean of each figure over the steps that returned it, throughput, share of waiting."""
        sums, counts = self._sums, self._counts
        means = {k: v / counts[k] for k, v in sums.items() if k not in self._OWN}
        return {
            **means,
            "seconds": sums["seconds"],
            "samples_per_second": sums["samples"] / sums["seconds"],
            "data_wait": sums["waited"] / sums["seconds"],
        }


def export(learner: Learner, source: TrainingSet, last: dict[str, Any], folder: Path) -> None:
    """Write the skeleton-only encoder of a finished run."""
    experiment, data = learner.experiment, learner.experiment.data
    shown = [name for name in figures.short_names() if figures.describe(name).when == "validation"]
    architecture = experiment.model.model_dump(mode="json")
    if experiment.model.name == "stgcn":
        del architecture["name"]  # as in earlier cards: equal encoders keep equal digests
    card = {
        "layout": source.layout.to_dict(),
        "architecture": architecture,
        "preprocessing": {"frames": data.frames, "centre": data.centre, "align": data.align},
        "stream": data.stream,
        "figures": {name: last[name] for name in shown if name in last},
        "licence": source.store.manifest.get("licence", UNKNOWN_LICENCE),
        "provenance": {
            "dataset": source.store.manifest.get("dataset"),
            "store": source.store.digest,
            "split": data.split,
            "training sequences": len(source.pretrain),
            "labels used": experiment.objective.uses_labels,
            "epochs": experiment.train.epochs,
            "seed": experiment.seed,
            "experiment": experiment.model_dump(mode="json"),
        },
    }
    if origin := find("backbone", experiment.model.name).origin:  # none of our own
        card["backbone"] = origin
    student = learner.evaluated
    save_encoder(folder, student.encoder, card, concept_spaces(source, student.objective))
