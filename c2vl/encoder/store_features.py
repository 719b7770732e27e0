"""Features of a whole store, extracted once: cached by encoder and content of the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from c2vl.encoder import Encoder
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.preprocess import VERSION
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.files import replacing
from c2vl.support.progress import progress

Floats = NDArray[np.float32]
BATCH = 256


def store_features(encoder: Encoder, store: Store) -> Floats:
    """Embed every sequence of a store with the encoder's own preprocessing.

    The result is kept in ``cache/`` of the store, under a hash of what decides it: all of the
    encoder but its provenance, and the store's content.

    Args:
        encoder: whose layout must be the store's.
        store: raw sequences.

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

    return cached(encoder, store, "clean", compute)


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
    """Return features from the store's cache, or compute and keep them there.

    Args:
        encoder: computes the features.
        store: holds the cache.
        variant: what else decides them, in words.
        compute: makes them.
    """
    key = json.dumps([encoder.digest, store.digest, VERSION, variant])
    name = f"features-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    path = store.path / "cache" / name
    try:
        rows: Floats = np.load(path, allow_pickle=False)
        if rows.ndim == 2 and rows.shape[1] == encoder.feature_size:
            return rows
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: compute it again
    rows = compute()
    with replacing(path) as file:
        np.save(file, rows)
    return rows
