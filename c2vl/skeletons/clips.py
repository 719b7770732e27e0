"""Preprocessed clips of a whole store, computed once and memory-mapped ever after."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.preprocess import VERSION, preprocess_batch
from c2vl.skeletons.store import Store
from c2vl.support.files import adding_folder

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 256  # sequences preprocessed together


@dataclass(frozen=True)
class Clips:
    """All sequences of a store at one length.

    Attributes:
        x: float32 (N, M, T, V, 3), memory-mapped, read-only; M is the most bodies of any sequence.
        present: bool (N, M), the slots that hold a body.
    """

    x: NDArray[np.float32]
    present: NDArray[np.bool_]

    def tensors(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return x (n, M, T, V, 3) and present (n, M) of some sequences, read off the disk.

        The memory is torch's, which is always aligned alike: MKL promises the same bits run after
        run on such memory alone.
        """
        import torch

        x = torch.empty(len(positions), *self.x.shape[1:])
        x.numpy()[:] = self.x[positions]
        return x, torch.from_numpy(self.present[positions])


def load_clips(store: Store, *, frames: int, centre: bool = True, align: bool = True) -> Clips:
    """Return a store's clips, preprocessed with these settings (see ``preprocess_batch``).

    They are cached in ``cache/`` of the store under a hash of its content and the settings. Several
    processes may ask at once: each writes under a name of its own and the first to finish wins.

    Raises:
        UserError: the cache cannot be written.
    """
    settings = {"frames": frames, "centre": centre, "align": align, "version": VERSION}
    key = json.dumps({"store": store.digest, **settings}, sort_keys=True)
    folder = store.path / "cache" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not folder.is_dir():
        with adding_folder(folder) as partial:
            _compute(store, partial, frames=frames, centre=centre, align=align)
    return Clips(np.load(folder / "clips.npy", mmap_mode="r"), np.load(folder / "present.npy"))


def _compute(store: Store, folder: Path, *, frames: int, centre: bool, align: bool) -> None:
    bodies, joints = store.max_bodies, len(store.layout.joints)
    lengths = store.index["frames"].to_numpy(dtype=np.int64)
    shape = (len(store), bodies, frames, joints, 3)
    clips = np.lib.format.open_memmap(
        folder / "clips.npy", mode="w+", dtype=np.float32, shape=shape
    )
    order = np.argsort(lengths, kind="stable")  # like lengths together: little padding
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        longest = int(lengths[chosen].max())
        padded = np.zeros((len(chosen), bodies, longest, joints, 3), dtype=np.float32)
        for row, position in enumerate(chosen):
            sequence = store.joints(int(position))
            padded[row, : sequence.shape[0], : sequence.shape[1]] = sequence
        clips[chosen] = preprocess_batch(
            padded, lengths[chosen], store.layout, frames=frames, centre=centre, align=align
        )
    clips.flush()
    present = np.arange(bodies) < store.index["bodies"].to_numpy()[:, None]
    np.save(folder / "present.npy", present)
