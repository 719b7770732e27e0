"""Preprocessed clips of a whole store, computed once and memory-mapped ever after.

Shapes: N sequences, M body slots, B bodies of all sequences, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.cache import Cache
from c2vl.skeletons.preprocess import VERSION, preprocess_batch
from c2vl.skeletons.store import Store
from c2vl.support.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 256  # sequences preprocessed together
_READ = 2048  # sequences read at a time: what is read is copied once more
_SORTED = 32 * _BATCH  # sorted by length together: little padding, and the disk is read in order


@dataclass(frozen=True)
class Clips:
    """All sequences of a store at one length.

    A slot without a body is not stored: of NTU RGB+D 120 that is 39 % of the slots.

    Attributes:
        bodies: float32 (B, T, V, 3), memory-mapped, read-only; those of a sequence stand together.
        first: (N,), where a sequence's bodies begin.
        present: bool (N, M), the slots that hold a body: the first ones. M is the most bodies of
            any sequence.
    """

    bodies: NDArray[np.float32]
    first: NDArray[np.int64]
    present: NDArray[np.bool_]

    def tensors(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return x (n, M, T, V, 3) and present (n, M) of some sequences, read off the disk.

        The memory is torch's, which is always aligned alike: MKL promises the same bits run after
        run on such memory alone.
        """
        import torch

        x = torch.empty(len(positions), self.present.shape[1], *self.bodies.shape[1:])
        self._read(positions, x.numpy())
        return x, torch.from_numpy(self.present[positions])

    def dense(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return x (n, M, T, V, 3) of some sequences as an array."""
        shape = (len(positions), self.present.shape[1], *self.bodies.shape[1:])
        x = np.empty(shape, np.float32)
        self._read(positions, x)
        return x

    def _read(self, positions: NDArray[np.int64], x_nMTVC: NDArray[np.float32]) -> None:
        for start in range(0, len(positions), _READ):
            part, out = positions[start : start + _READ], x_nMTVC[start : start + _READ]
            present, first = self.present[part], self.first[part]
            for slot in range(out.shape[1]):
                here = present[:, slot]
                out[here, slot] = self.bodies[first[here] + slot]
                out[~here, slot] = 0


def load_clips(store: Store, *, frames: int, centre: bool = True, align: bool = True) -> Clips:
    """Return a store's clips, preprocessed with these settings (see ``preprocess_batch``).

    They are cached (:mod:`c2vl.skeletons.cache`) by the store's content and the settings.

    Raises:
        UserError: the cache cannot be written.
    """
    settings = {"frames": frames, "centre": centre, "align": align}
    count = store.index["bodies"].to_numpy(dtype=np.int64)

    def read(folder: Path) -> Clips:
        bodies = np.load(folder / "bodies.npy", mmap_mode="r")
        present = np.arange(store.max_bodies) < count[:, None]
        return Clips(bodies, np.cumsum(count) - count, present)

    def make(folder: Path) -> None:
        _compute(store, folder / "bodies.npy", frames=frames, centre=centre, align=align)

    about = {"store": store.digest, **settings, "version": VERSION}
    return Cache.of(store).get("clips", about, make, read)


def _compute(store: Store, file: Path, *, frames: int, centre: bool, align: bool) -> None:
    joints = len(store.layout.joints)
    lengths = store.index["frames"].to_numpy(dtype=np.int64)
    count = store.index["bodies"].to_numpy(dtype=np.int64)
    first = np.cumsum(count) - count
    shape = (int(count.sum()), frames, joints, 3)
    bodies = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    order = np.lexsort((lengths, count, np.arange(len(store)) // _SORTED))
    with progress("sequences preprocessed") as shown:
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            longest, most = int(lengths[chosen].max()), int(count[chosen].max())
            padded = np.zeros((len(chosen), most, longest, joints, 3), dtype=np.float32)
            for row, position in enumerate(chosen):
                sequence = store.joints(int(position))
                padded[row, : sequence.shape[0], : sequence.shape[1]] = sequence
            clips = preprocess_batch(
                padded, lengths[chosen], store.layout, frames=frames, centre=centre, align=align
            )
            for slot in range(most):
                here = count[chosen] > slot
                bodies[first[chosen[here]] + slot] = clips[here, slot]
            shown(start + len(chosen), len(order))
    bodies.flush()
