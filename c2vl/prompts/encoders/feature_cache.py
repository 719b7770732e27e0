"""Caches features by content: (text or picture, model, settings) → vector, in atomic shards.

A shard is two arrays, ``<name>.features.npy`` and, written last, ``<name>.keys.npy``, which also
marks items longer than the model reads. No file changes in place, so processes and machines can
fill one cache together; the cache deletes a damaged shard and encodes its items again. Only keys
are held in memory, a few dozen bytes an item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.encoders import Encoder
from c2vl.support.errors import UserError
from c2vl.support.files import replacing, require_writable
from c2vl.support.progress import Progress

SHARD = 512
"""Items a shard: what an interrupted run can lose."""

ItemT = TypeVar("ItemT", str, bytes)
Keys = NDArray[np.void]
_KEY = np.dtype("V16")


class FeatureCache:
    """Features of one encoder below a cache folder.

    Args:
        folder: the cache; one sub-folder an encoder is made in it.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = Path(folder) / hashlib.sha256(identity.encode()).hexdigest()[:24]
        self._shards: list[str] = []
        self._keys: Keys = np.empty(0, dtype=_KEY)
        self._place = np.empty((0, 3), dtype=np.int64)  # shard, row, long; as the keys are sorted
        self.refresh()

    def refresh(self) -> None:
        """Read the keys of all shards again."""
        keys: list[Keys] = []
        place: list[NDArray[np.int64]] = []
        self._shards = []
        for path in sorted(self.folder.glob("shard-*.keys.npy")):
            name = path.name.removesuffix(".keys.npy")
            try:
                found = np.load(path, allow_pickle=False)
                rows = np.load(self._features(name), mmap_mode="r", allow_pickle=False)
                if found.dtype != np.uint8 or found.shape != (len(rows), 17) or rows.ndim != 2:
                    raise ValueError("not a shard")
            except (OSError, ValueError, EOFError):
                self._drop(name)
                continue
            keys.append(np.ascontiguousarray(found[:, :16]).view(_KEY)[:, 0])
            number = np.full(len(rows), len(self._shards))
            place.append(np.stack([number, np.arange(len(rows)), found[:, 16]], axis=1))
            self._shards.append(name)
        if keys:
            everything = np.concatenate(keys)
            self._keys, first = np.unique(everything, return_index=True)
            self._place = np.concatenate(place)[first]
        else:
            self._keys, self._place = np.empty(0, dtype=_KEY), np.empty((0, 3), dtype=np.int64)

    def missing(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Return the distinct items that are not there yet, in the order of their first use."""
        distinct = list(dict.fromkeys(items))
        known = self._found(keys_of(distinct)) >= 0
        return [item for item, is_known in zip(distinct, known, strict=True) if not is_known]

    def encode(
        self, items: Sequence[ItemT], encoder: Encoder[ItemT], *, progress: Progress | None = None
    ) -> None:
        """Encode items and write them as one shard; call :meth:`refresh` before they are read.

        Args:
            items: n distinct texts or pictures.

        Raises:
            UserError: the encoder returns something else than unit-norm rows.
        """
        require_writable(self.folder)
        rows = np.asarray(encoder.encode(items, progress=progress))
        if rows.ndim != 2 or len(rows) != len(items) or not _unit(rows):
            raise UserError(
                f"encoder {encoder.identity}: encode returned {rows.dtype} {rows.shape} for "
                f"{len(items)} items; expected floats ({len(items)}, D), each row of norm 1"
            )
        too_long = getattr(encoder, "too_long", None)
        long = too_long(items) if too_long else np.zeros(len(items), dtype=bool)
        keys = keys_of(items)
        name = "shard-" + hashlib.sha256(keys.tobytes()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self._features(name), np.ascontiguousarray(rows, dtype=np.float32))
        flat = keys.view(np.uint8).reshape(len(items), 16)
        _write(self._keys_file(name), np.hstack([flat, long[:, None].astype(np.uint8)]))

    def long(self, items: Sequence[ItemT]) -> int:
        """Return how many of the distinct items, all cached, are longer than the encoder reads."""
        found = self._found(keys_of(list(dict.fromkeys(items))))
        return int(self._place[found, 2].sum())

    def get(self, items: Sequence[ItemT]) -> NDArray[np.float32] | None:
        """Return the features of items that are all there, (n, D).

        None where a shard is damaged; it is deleted then, and its items are missing.
        """
        found = self._found(keys_of(items))
        if (found < 0).any():
            return None
        place = self._place[found]
        rows: NDArray[np.float32] | None = None
        sound = True
        for shard in np.unique(place[:, 0]):
            here = np.flatnonzero(place[:, 0] == shard)
            name = self._shards[shard]
            part = np.load(self._features(name), mmap_mode="r")[place[here, 1]]
            if not _unit(part):
                self._drop(name)
                sound = False
                continue
            if rows is None:
                rows = np.empty((len(items), part.shape[1]), dtype=np.float32)
            rows[here] = part
        if not sound:
            self.refresh()
            return None
        return rows

    def add(
        self,
        items: Sequence[ItemT],
        encoder: Encoder[ItemT],
        *,
        on_new: Callable[[int], None] | None = None,
    ) -> None:
        """Encode what is missing.

        Args:
            items: in any number and with repeats.
            on_new: told how many more items the encoder has read.
        """
        new = self.missing(items)
        for start in range(0, len(new), SHARD):
            part = new[start : start + SHARD]
            seen = 0

            def report(done: int, _: int) -> None:
                nonlocal seen
                if on_new is not None:
                    on_new(done - seen)
                seen = done

            self.encode(part, encoder, progress=report)
            if on_new is not None and seen < len(part):
                on_new(len(part) - seen)
        if new:
            self.refresh()

    def features(
        self,
        items: Sequence[ItemT],
        encoder: Encoder[ItemT],
        *,
        on_new: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return features (n, D), and encode first what is missing; see :meth:`add`."""
        while True:
            self.add(items, encoder, on_new=on_new)
            rows = self.get(items)
            if rows is not None:
                return rows

    def _found(self, keys: Keys) -> NDArray[np.int64]:
        """Return the position of each key among the known ones, -1 where it is absent."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        at = np.searchsorted(self._keys, keys)
        at = np.minimum(at, len(self._keys) - 1)
        return np.where(self._keys[at] == keys, at, -1)

    def _features(self, name: str) -> Path:
        return self.folder / f"{name}.features.npy"

    def _keys_file(self, name: str) -> Path:
        return self.folder / f"{name}.keys.npy"

    def _drop(self, name: str) -> None:
        self._keys_file(name).unlink(missing_ok=True)
        self._features(name).unlink(missing_ok=True)


def keys_of(items: Sequence[str] | Sequence[bytes]) -> Keys:
    """Return (n,) keys of 16 bytes: the start of each item's SHA-256."""
    data = (item.encode() if isinstance(item, str) else item for item in items)
    joined = b"".join(hashlib.sha256(item).digest()[:16] for item in data)
    return np.frombuffer(joined, dtype=_KEY)


def _unit(rows: NDArray[np.floating]) -> bool:
    """Tell whether every row has norm 1; NaN has not."""
    return bool((np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2).all())


def _write(path: Path, array: NDArray[np.generic]) -> None:
    with replacing(path) as file:
        np.save(file, array)
