"""Pretraining batches: clips, their concepts, and an order that depends on the seed alone.

Every draw comes from a generator seeded by (seed, step, worker), so that a resumed run continues
exactly where it was without any random state in the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2vl.config.experiment import AugmentSettings, Experiment
from c2vl.objective.base import Batch
from c2vl.prompts.table import ConceptTable
from c2vl.registry import find
from c2vl.skeletons.cache import Cache
from c2vl.skeletons.clips import Clips, load_clips
from c2vl.skeletons.splits import Split, folds, split
from c2vl.skeletons.store import Store
from c2vl.skeletons.streams import to_stream
from c2vl.support.errors import UserError
from c2vl.training.beforehand import pretrained, require_labels
from c2vl.training.concept_rows import ConceptRows, normalisation
from c2vl.training.resident import ResidentClips, sent


def generator(*seeds: int) -> torch.Generator:
    """Return a generator whose stream depends on all the numbers given."""
    seed = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) % (2**63))


class TrainingSet:
    """The training part of a store with its concept features, and the folds to select on.

    What is large stays on the disk, memory-mapped. A batch is made in four steps that stand by
    themselves: :meth:`rows` draws, :meth:`clips` and ``concepts[modality].draw`` gather (and
    normalise), :meth:`augmented` transforms the clips; :meth:`batch` does all.

    Attributes:
        present: (N, M) bool, body slots that are in use.
        labels: (N,) integers; for validation figures, and for objectives that use labels.
        fold: (N,) fold number of each training sequence.
        pretrain: rows that pretraining may see.
        concepts: modality → features (N, P, D), normalised over the pretraining rows.
        has: modality → (N,) bool, for each modality that lacks some sequences.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        data = experiment.data
        store = Store.open(data.store)
        self.store, self.layout = store, store.layout
        self.split: Split = split(store.index, data.split)
        positions = self.split.train
        if len(positions) < 2:
            raise UserError(f"{data.store}: split {data.split} has no training sequences")
        clips: Clips = load_clips(store, frames=data.frames, centre=data.centre, align=data.align)
        self._clips, self._positions = clips, positions
        self.present = torch.from_numpy(np.ascontiguousarray(clips.present[positions]))
        self.labels = store.index["label"].to_numpy(np.int64)[positions]
        self.fold = folds(store.index, positions, by=data.validation_by, k=data.validation_folds)
        held_out = np.zeros(len(positions), dtype=bool)
        if not data.pretrain_on_validation:
            held_out = self.fold == 0
        self.pretrain: NDArray[np.int64] = np.flatnonzero(~held_out)
        require_labels(experiment, self.labels[self.pretrain])
        ids = [str(name) for name in store.index["id"].to_numpy()[positions]]
        self.has: dict[str, Tensor] = {}
        self.concepts = self._concepts(ids)
        self._order: tuple[int, Tensor] | None = None  # of an epoch
        self.device = torch.device("cpu")
        self._resident: ResidentClips | None = None

    def move(self, device: torch.device, budget: int | None = None) -> list[str]:
        """Make batches on a device from now on, and keep there what fits.

        Args:
            device: where batches are made.
            budget: bytes that may be kept there; default: of a GPU half of what is free, since
                activations need the rest, and of a CPU none, since the system caches files.

        Returns:
            What is kept there: "clips", and modalities.
        """
        kept: list[str] = []
        self.device = device
        if budget is None:
            budget = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0
        size = int(self.present.sum()) * self._clips.bodies[0].nbytes
        if size <= budget:
            self._resident = ResidentClips(self._clips, self._positions, device)
            budget -= size
            kept.append("clips")
        for name, rows in self.concepts.items():
            if rows.nbytes <= budget:
                rows.move(device)
                budget -= rows.nbytes
                kept.append(name)
        return kept

    def clips(self, rows: Tensor) -> Tensor:
        """Return clips (n, M, T, V, 3) of some rows, on the device if they are kept there."""
        if self._resident is not None:
            return self._resident.tensors(rows, self.present[rows])
        return self._clips.tensors(self._positions[rows.numpy()])[0]

    def _concepts(self, ids: list[str]) -> dict[str, ConceptRows]:
        prompts = self.experiment.prompts
        tables: dict[str, ConceptTable] = {}
        places: dict[str, NDArray[np.int64]] = {}
        for modality, folder in self.experiment.concept_tables().items():
            assert folder is not None, "checked with the settings"
            table = tables[modality] = ConceptTable.open(folder, modality=modality)
            if prompts.per_sample > table.prompts_per_sample:
                raise UserError(
                    f"prompts.per_sample: {prompts.per_sample} asked, but {folder} has "
                    f"{table.prompts_per_sample} prompts a sequence"
                )
            wanted = table.every_place if prompts.missing == "error" else table.places
            places[modality] = wanted(ids)
        here = {modality: found >= 0 for modality, found in places.items()}
        self.pretrain = pretrained(self.experiment, self.pretrain, here)
        concepts = {}
        for modality, table in tables.items():
            found = places[modality]
            seen = found[self.pretrain]
            seen = seen[seen >= 0]
            how = normalisation(table, seen, prompts.normalise, Cache.of(self.store))
            concepts[modality] = ConceptRows(table, found, how)
            if not here[modality].all():
                self.has[modality] = torch.from_numpy(here[modality])
        return concepts

    @property
    def batch_size(self) -> int:
        """Return the sequences per step over all workers; a small set is one batch."""
        train = self.experiment.train
        fitting = len(self.pretrain) // train.workers * train.workers
        return min(train.batch_size, fitting)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of whole batches per epoch; an incomplete last batch is dropped."""
        return len(self.pretrain) // self.batch_size

    def rows(self, step: int, rank: int = 0) -> Tensor:
        """Return the (n,) rows of the training set that a worker sees at a step (from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            draw = generator(self.experiment.seed, 1, epoch)
            self._order = epoch, torch.randperm(len(self.pretrain), generator=draw)
        share = self.batch_size // self.experiment.train.workers
        first = place * self.batch_size + rank * share
        return torch.from_numpy(self.pretrain)[self._order[1][first : first + share]]

    def augmented(
        self,
        x_nMTVC: Tensor,
        present_nM: Tensor,
        draw: torch.Generator,
        how: AugmentSettings | None = None,
    ) -> Tensor:
        """Augment clips as ``how`` says (default: ``data.augment``), and take the wanted stream."""
        data = self.experiment.data
        how = how or data.augment
        augment = find("augmentation", how.name).load()
        x_nMTVC = augment(x_nMTVC, present_nM, how, self.layout, draw)
        return to_stream(x_nMTVC, data.stream, self.layout)

    def batch(self, step: int, rank: int = 0) -> Batch:
        """Build the batch of one worker at a step."""
        draw = generator(self.experiment.seed, 2, step, rank)
        rows = self.rows(step, rank)
        present = self.present[rows]
        clips = sent(self.clips(rows), self.device)
        x = self.augmented(clips, present, draw)
        keep = self.experiment.prompts.per_sample
        concepts = {name: found.draw(rows, keep, draw) for name, found in self.concepts.items()}
        has = {name: there[rows] for name, there in self.has.items()}
        wanted = self.experiment.objective.views(self.experiment.data.augment)
        views = tuple(self.augmented(clips, present, draw, how) for how in wanted)
        labels = torch.from_numpy(self.labels)[rows]
        among = torch.from_numpy(np.searchsorted(self.pretrain, rows.numpy()))  # it ascends
        batch = Batch(x, present, concepts, labels, has, views=views, rows=among)
        return batch.to(self.device, self.experiment.train.accumulate)


def stream_batches(
    source: TrainingSet, first: int, last: int, rank: int
) -> Iterator[tuple[Batch, float]]:
    """Yield the batches of steps ``first`` .. ``last - 1`` and the seconds waited for each.

    A thread builds the next batch while the model trains on the current one, on a GPU in a queue
    of its own. It is passed on when it is complete, so that waiting for it is seen.
    """
    queue = torch.cuda.Stream(source.device) if source.device.type == "cuda" else None

    def build(step: int) -> Batch:
        with nullcontext() if queue is None else torch.cuda.stream(queue):  # of this thread
            batch = source.batch(step, rank)
        if queue is not None:
            queue.synchronize()
        return batch

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        ahead = pool.submit(build, first) if first < last else None
        for step in range(first, last):
            assert ahead is not None
            began = time.perf_counter()
            batch = ahead.result()
            waited = time.perf_counter() - began
            if step + 1 < last:
                ahead = pool.submit(build, step + 1)
            if queue is not None:  # its memory is free again when the steps that read it are done
                batch.record_stream(torch.cuda.current_stream(source.device))
            yield batch, waited
