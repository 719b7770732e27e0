"""Extracts the features of a whole store once: cached by encoder and content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2vl.encoder import Encoder
from c2vl.skeletons.cache import Cache
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.preprocess import VERSION
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.progress import progress

Floats = NDArray[np.float32]
BATCH = 256


def store_features(encoder: Encoder, store: Store, variant: str = "clean") -> Floats:
    """Embed every sequence of a store with the encoder's own preprocessing.

    The result is cached (:mod:`c2vl.skeletons.cache`) by what decides it: all of the encoder but
    its provenance, and the store's content.

    Args:
        encoder: on the device that computes.
        store: in the encoder's layout.
        variant: what else decides them, in words (a number format).

    Returns:
        (N, F), in the order of the store's index.

    Raises:
        UserError: the layouts differ, or the cache cannot be written.
    """
    same_layout(encoder, store)

    def compute() -> Floats:
        clips = load_clips(store, **encoder.card["preprocessing"])
        rows = np.empty((len(store), encoder.feature_size), np.float32)
        with progress("sequences embedded") as shown:
            for first in range(0, len(store), BATCH):  # the clips stay on the disk
                part = np.arange(first, min(first + BATCH, len(store)))
                x, present = clips.tensors(part)
                widest = max(1, int(present.sum(1).max()))  # drop slots empty in the whole batch
                rows[part] = encoder.embed_clips(x[:, :widest], present[:, :widest], BATCH)
                shown(first + len(part), len(store))
        return rows

    return cached(encoder, store, variant, compute)


def same_layout(encoder: Encoder, store: Store) -> None:
    """Check that an encoder can read a store.

    Raises:
        UserError: the layouts differ.
    """
    if store.layout.joints != encoder.layout.joints:
        raise UserError(
            f"{store.path}: has the {store.layout.name} layout ({len(store.layout.joints)} joints),"
            f" the encoder expects {encoder.layout.name} ({len(encoder.layout.joints)} joints); "
            "`c2vl evaluate transfer` converts layouts"
        )


def cached(encoder: Encoder, store: Store, variant: str, compute: Callable[[], Floats]) -> Floats:
    """Return features from the cache; compute and keep them first if need be.

    Args:
        variant: what else decides them, in words.
    """
    about = {
        "encoder": encoder.digest, "store": store.digest, "version": VERSION, "variant": variant
    }  # fmt: skip

    def read(folder: Path) -> Floats:
        rows: Floats = np.load(folder / "features.npy", allow_pickle=False)
        if rows.ndim != 2 or rows.shape[1] != encoder.feature_size:
            raise ValueError(f"features are {rows.shape}")
        return rows

    def make(folder: Path) -> None:
        np.save(folder / "features.npy", compute())

    return Cache.of(store).get("features", about, make, read)
