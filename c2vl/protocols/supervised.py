"""Train encoder and classifier with labels, for the protocols that fine-tune.

A job is a folder (encoder, positions, settings), so that the same function runs in this process or
in a group of Ray Train workers, and a job that was killed continues from its last checkpoint.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from c2vl.encoder import Encoder, build, load_encoder, save_encoder
from c2vl.protocols.settings import TrainingSettings
from c2vl.protocols.task import Floats, Ints
from c2vl.protocols.workers import Share, run_job
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store
from c2vl.skeletons.streams import to_stream
from c2vl.support.files import write_text
from c2vl.support.progress import every_second
from c2vl.training import checkpoint
from c2vl.training.batches import generator
from c2vl.training.device import Precision, precision

log = logging.getLogger(__name__)
SCORES = "scores.npy"
_STEPS = "steps"  # how many are done, for those who wait


class Classifier(nn.Module):
    """An encoder's network, in the format of a device, with a linear layer on its features."""

    def __init__(self, network: nn.Module, feature: int, classes: int, form: Precision) -> None:
        super().__init__()
        self.network = network
        self.form = form
        self.head = nn.Linear(feature, classes)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_NMTVC: Tensor, present_NM: Tensor) -> Tensor:
        """Class scores (N, classes)."""
        with self.form.autocast():
            features_NF = self.network(x_NMTVC, present_NM)
        scores: Tensor = self.head(features_NF.float())
        return scores


def fresh(encoder: Encoder, seed: int) -> Encoder:
    """Return an encoder of the same architecture and preprocessing with random weights."""
    torch.manual_seed(seed)
    card = {
        **{key: encoder.card[key] for key in ("layout", "architecture", "preprocessing", "stream")},
        "provenance": {"seed": seed},
    }
    return Encoder(build(encoder.layout, card["architecture"]), card)


def steps_of(rows: int, settings: TrainingSettings) -> int:
    """Return the optimizer steps of a training on some sequences."""
    return settings.epochs * -(-rows // settings.batch_size)


def is_scored(scratch: Path) -> bool:
    """Tell whether a job has its scores already."""
    return (scratch / SCORES).exists()


def supervised_scores(
    encoder: Encoder,
    store: Store,
    fit: Ints,
    scored: Ints,
    *,
    scratch: Path,
    seed: int,
    settings: TrainingSettings,
    stepped: Callable[[int], None] = lambda _: None,
) -> Floats:
    """Fine-tune on some sequences and score others.

    Args:
        encoder: where the weights start; it is not changed.
        store: labelled sequences in the encoder's layout.
        fit: positions whose labels are learnt.
        scored: positions to score; their labels are not read.
        scratch: a folder for this job alone, on storage that all workers reach. After the job it
            keeps the scores, so that a protocol of many jobs repeats none of them after a kill.
        seed: of the classifier, the order and dropout.
        settings: how to train, and on how many workers.
        stepped: called every second with the steps that are done.

    Returns:
        (len(scored), classes) class scores after the last epoch.
    """
    if not is_scored(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        save_encoder(scratch / "encoder", encoder.model, encoder.card)
        np.savez(scratch / "positions.npz", fit=fit, scored=scored)
        trained = settings.model_dump(include=set(TrainingSettings.model_fields))
        job = {"store": str(store.location), "seed": seed, "settings": trained}
        write_text(scratch / "job.json", json.dumps(job))
        workers, gpus = settings.workers, settings.gpus_per_worker
        with every_second(lambda: stepped(_steps(scratch / _STEPS))):
            run_job(train_and_score, scratch, workers=workers, gpus_per_worker=gpus)
    scores = np.asarray(np.load(scratch / SCORES), np.float32)
    for path in scratch.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != SCORES:
            path.unlink()
    return scores


def _steps(file: Path) -> int:
    """Return the number in a file, 0 before it is there."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return int(text or 0)  # nothing in it: it is being written


def train_and_score(folder: Path, share: Share, device: torch.device) -> None:
    """Train a job's classifier as one worker; the first worker writes the scores."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    settings = TrainingSettings.model_validate(job["settings"])
    positions = np.load(folder / "positions.npz")
    store, encoder = Store.open(job["store"]), load_encoder(folder / "encoder")
    labels = torch.from_numpy(store.index["label"].to_numpy(np.int64)[positions["fit"]])
    torch.manual_seed(job["seed"])
    form = precision(settings.precision, device)
    sizes = encoder.feature_size, len(store.class_names)
    model = Classifier(encoder.model, *sizes, form).to(device)
    scaler = form.scaler()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=settings.weight_decay,
    )
    first = 0
    state, unreadable = checkpoint.latest(folder / "checkpoints")
    for line in unreadable:
        log.warning(line)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if scaler.is_enabled():
            scaler.load_state_dict(state["scaler"])
        first = state["epoch"]
    wrapped: nn.Module = model
    if share.world > 1:
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        wrapped = nn.parallel.DistributedDataParallel(model)
    clips = _Clips(encoder, store, device)
    per_epoch, written = steps_of(len(labels), settings) // settings.epochs, time.monotonic()

    def stepped(step: int) -> None:
        nonlocal written
        if share.rank == 0 and time.monotonic() - written > 0.5:
            written = time.monotonic()
            (folder / _STEPS).write_text(str(epoch * per_epoch + step), encoding="utf-8")

    for epoch in range(first, settings.epochs):
        _epoch(
            wrapped, optimizer, scaler, settings, clips, positions["fit"], labels, job["seed"],
            epoch, share, stepped,
        )  # fmt: skip
        done = epoch + 1
        if share.rank == 0 and (done % settings.checkpoint_every == 0 or done == settings.epochs):
            state = {
                "epoch": done,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
            }
            checkpoint.save(folder / "checkpoints", state, step=done, keep=1)
    if share.rank == 0:
        scores = _scores(model, clips, positions["scored"])
        partial = folder / f".{SCORES}"
        np.save(partial, scores)
        partial.rename(folder / SCORES)


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    settings: TrainingSettings,
    clips: _Clips,
    fit: Ints,
    labels: Tensor,
    seed: int,
    epoch: int,
    share: Share,
    stepped: Callable[[int], None],
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate(epoch)
    model.train()
    order = torch.randperm(len(fit), generator=generator(seed, 3, epoch))
    for step, rows in enumerate(order.split(settings.batch_size)):
        if len(rows) < share.world:
            continue  # too few rows are left for every worker to have one
        torch.manual_seed((seed * 1_000_003 + epoch * 997 + step) * 4099 + share.rank)
        own = share.own(rows)
        loss = functional.cross_entropy(
            model(*clips(fit[own.numpy()])), labels[own].to(clips.device)
        )
        optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over workers: weighted by its rows, each sequence counts the same.
        scaler.scale(loss * (len(own) * share.world / len(rows))).backward()
        scaler.step(optimizer)
        scaler.update()
        stepped(step + 1)


class _Clips:
    """Network inputs by position."""

    def __init__(self, encoder: Encoder, store: Store, device: torch.device) -> None:
        self._clips = load_clips(store, **encoder.card["preprocessing"])
        self._encoder, self.device = encoder, device

    def __call__(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        x, present = (part.to(self.device) for part in self._clips.tensors(positions))
        return to_stream(x, self._encoder.card["stream"], self._encoder.layout), present


@torch.inference_mode()
def _scores(model: nn.Module, clips: _Clips, positions: Ints) -> Floats:
    model.eval()
    parts = [positions[first : first + 256] for first in range(0, len(positions), 256)]
    return torch.cat([model(*clips(part)).float().cpu() for part in parts]).numpy()
