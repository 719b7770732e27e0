"""Text features by content: (text, model, settings) → vector, in shards written atomically.

A shard is one ``.npz`` with the keys and features of one batch of new texts. Nothing is ever
changed in place, so processes can share a cache; a damaged shard is dropped and its texts are
encoded again.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.encoders import Progress

SHARD = 4096
"""Texts a shard: what an interrupted run can lose."""


class Encoder(Protocol):
    """What the cache needs of a text encoder."""

    @property
    def identity(self) -> str:
        """Name and content of model and settings."""

    @property
    def limit(self) -> int:
        """Tokens that are read of a text."""

    def lengths(self, texts: list[str]) -> NDArray[np.int64]:
        """Return the tokens of each text."""

    def encode(self, texts: list[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return unit-norm features, (n, D)."""


class FeatureCache:
    """Features of one encoder below a cache folder.

    Args:
        folder: the cache; one sub-folder an encoder is made in it.
        encoder: used for texts that are not there yet.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.encoder = encoder
        self.folder = Path(folder) / hashlib.sha256(encoder.identity.encode()).hexdigest()[:24]
        self.encoded = 0  # texts that the model had to read, over all calls

    def features(
        self, texts: list[str], *, progress: Progress | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return features (n, D) and which texts were cut at the encoder's limit (n,).

        Args:
            texts: sentences, in any number and with repeats.
            progress: called with the new texts encoded and to encode.
        """
        keys = [_key(text) for text in texts]
        known = self._read()
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        names, total = list(new), len(new)
        for start in range(0, total, SHARD):
            part = names[start : start + SHARD]
            words = [new[key] for key in part]

            def report(done: int, _: int, start: int = start) -> None:
                if progress is not None:
                    progress(start + done, total)

            rows = self.encoder.encode(words, progress=report)
            cut = self.encoder.lengths(words) > self.encoder.limit
            self._write(part, rows, cut)
            known |= {key: (rows[i], bool(cut[i])) for i, key in enumerate(part)}
            self.encoded += len(part)
        found = [known[key] for key in keys]
        return np.stack([row for row, _ in found]), np.array([cut for _, cut in found])

    def _read(self) -> dict[str, tuple[NDArray[np.float32], bool]]:
        known: dict[str, tuple[NDArray[np.float32], bool]] = {}
        for path in sorted(self.folder.glob("shard-*.npz")):
            try:
                with np.load(path, allow_pickle=False) as shard:
                    keys, rows, cut = shard["keys"], shard["features"], shard["cut"]
                if not len(keys) == len(rows) == len(cut) or not np.isfinite(rows).all():
                    raise ValueError("not a shard")
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink(missing_ok=True)
                continue
            known |= {str(key): (rows[i], bool(cut[i])) for i, key in enumerate(keys)}
        return known

    def _write(self, keys: list[str], rows: NDArray[np.float32], cut: NDArray[np.bool_]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]
        temporary = self.folder / f".tmp-{name}-{os.getpid()}.npz"
        try:
            np.savez(temporary, keys=np.array(keys), features=rows, cut=cut)
            os.replace(temporary, self.folder / f"shard-{name}.npz")
        finally:
            temporary.unlink(missing_ok=True)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
