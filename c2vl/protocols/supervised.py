"""Train encoder and classifier with labels: fine-tuning, and the protocols that are fine-tuning.

One job is a folder of its own (encoder, positions, recipe), so that the same function runs in this
process or in a group of Ray Train workers, and goes on from its last checkpoint after a kill.

Settings are the lineage's (CrosSCLR, AimCLR): SGD lr 0.1, momentum 0.9, weight decay 1e-4, five
epochs of warm-up, ×0.1 at epochs 30 and 55 of 70, batch 64, no augmentation.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from c2vl.encoder import Encoder, build, load_encoder, save_encoder
from c2vl.protocols.task import Floats, Ints
from c2vl.protocols.workers import Machines, Share, run_job
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store
from c2vl.skeletons.streams import to_stream
from c2vl.support.files import write_text
from c2vl.training import checkpoint
from c2vl.training.batches import generator

log = logging.getLogger(__name__)
SCORES = "scores.npy"


@dataclass(frozen=True)
class Recipe:
    """How to train with labels.

    Attributes:
        epochs: passes over the labelled sequences.
        batch_size: over all workers.
        lr: at its highest.
        weight_decay: of all parameters.
        warmup: epochs with a rising lr.
        milestones: epochs after which lr is a tenth.
        checkpoint_every: epochs between checkpoints.
    """

    epochs: int = 70
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 1e-4
    warmup: int = 5
    milestones: tuple[int, ...] = (30, 55)
    checkpoint_every: int = 10

    def scaled(self, epochs: int) -> Recipe:
        """The same shape over another number of epochs."""
        share = epochs / self.epochs
        steps = tuple(round(share * at) for at in self.milestones)
        return replace(self, epochs=epochs, warmup=round(share * self.warmup), milestones=steps)

    def learning_rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if epoch < self.warmup:
            return self.lr * (epoch + 1) / (self.warmup + 1)
        return self.lr * 0.1 ** sum(epoch >= at for at in self.milestones)


class Classifier(nn.Module):
    """An encoder's network with a linear layer on its features."""

    def __init__(self, network: nn.Module, feature: int, classes: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(feature, classes)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_NMTVC: Tensor, present_NM: Tensor) -> Tensor:
        """Class scores (N, classes)."""
        scores: Tensor = self.head(self.network(x_NMTVC, present_NM))
        return scores


def fresh(encoder: Encoder, seed: int) -> Encoder:
    """The same architecture and preprocessing with random weights: what training starts from."""
    torch.manual_seed(seed)
    card = {
        **{key: encoder.card[key] for key in ("layout", "architecture", "preprocessing", "stream")},
        "provenance": {"seed": seed},
    }
    return Encoder(build(encoder.layout, card["architecture"]), card)


def supervised_scores(
    encoder: Encoder,
    store: Store,
    fit: Ints,
    scored: Ints,
    *,
    scratch: Path,
    seed: int,
    recipe: Recipe,
    machines: Machines,
) -> Floats:
    """Fine-tune on some sequences and score others.

    Args:
        encoder: where the weights start; it is not changed.
        store: labelled sequences in the encoder's layout.
        fit: positions whose labels are learnt.
        scored: positions to score; their labels are not looked at.
        scratch: a folder for this job alone, on storage that all workers reach. It stays until
            the caller drops it, so that a killed job goes on, and a finished one is not done again.
        seed: of the classifier, the order and dropout.
        recipe: how.
        machines: on what.

    Returns:
        (len(scored), classes) class scores after the last epoch.
    """
    if (scratch / SCORES).exists():
        return np.asarray(np.load(scratch / SCORES), np.float32)
    if not (scratch / "job.json").exists():
        save_encoder(scratch / "encoder", encoder.model, encoder.card)
        np.savez(scratch / "positions.npz", fit=fit, scored=scored)
        job = {"store": str(store.path.absolute()), "seed": seed, "recipe": asdict(recipe)}
        write_text(scratch / "job.json", json.dumps(job))
    run_job(train_and_score, scratch, machines)
    return np.asarray(np.load(scratch / SCORES), np.float32)


@contextmanager
def scratch_folder(work: Path, name: str) -> Iterator[Path]:
    """A job's folder; of a finished job the scores alone are kept, until the protocol is through.

    So a protocol of many jobs goes on after a kill without doing any of them twice.
    """
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != SCORES:
            path.unlink()


def train_and_score(folder: Path, share: Share, device: torch.device) -> None:
    """Do a job's training as one worker; the first writes the scores."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recipe = Recipe(**{**job["recipe"], "milestones": tuple(job["recipe"]["milestones"])})
    positions = np.load(folder / "positions.npz")
    store, encoder = Store.open(job["store"]), load_encoder(folder / "encoder")
    labels = torch.from_numpy(store.index["label"].to_numpy(np.int64)[positions["fit"]])
    torch.manual_seed(job["seed"])
    model = Classifier(encoder.model, encoder.feature_size, len(store.class_names)).to(device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    first = 0
    state, unreadable = checkpoint.latest(folder / "checkpoints")
    for line in unreadable:
        log.warning(line)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    wrapped: nn.Module = model
    if share.world > 1:
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        wrapped = nn.parallel.DistributedDataParallel(model)
    clips = _Clips(encoder, store, device)
    for epoch in range(first, recipe.epochs):
        _epoch(wrapped, optimizer, recipe, clips, positions["fit"], labels, job, epoch, share)
        done = epoch + 1
        if share.rank == 0 and (done % recipe.checkpoint_every == 0 or done == recipe.epochs):
            state = {
                "epoch": done,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
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
    recipe: Recipe,
    clips: _Clips,
    fit: Ints,
    labels: Tensor,
    job: dict[str, Any],
    epoch: int,
    share: Share,
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate(epoch)
    model.train()
    order = torch.randperm(len(fit), generator=generator(job["seed"], 3, epoch))
    for step, rows in enumerate(order.split(recipe.batch_size)):
        if len(rows) < share.world:
            continue  # the rest is too few for all workers to have some
        torch.manual_seed((job["seed"] * 1_000_003 + epoch * 997 + step) * 4099 + share.rank)
        own = share.own(rows)
        loss = functional.cross_entropy(
            model(*clips(fit[own.numpy()])), labels[own].to(clips.device)
        )
        optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over workers: weighted by its rows, each sequence counts the same.
        (loss * (len(own) * share.world / len(rows))).backward()
        optimizer.step()


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
