"""Transfer: an encoder judged on another dataset, whose joints are converted to its layout first.

The converted store lies in the original's cache and is a store like any other: index, labels
and splits are the original's, so every protocol runs on it.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np

from c2vl.skeletons.cache import Cache
from c2vl.skeletons.conversion import convert
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.sequence import rows_checksum
from c2vl.skeletons.store import Store, content_checksum
from c2vl.support.errors import UserError

VERSION = 1
"""Part of the folder's name; raise it when a conversion gives other numbers."""


def converted_store(store: Store, layout: JointLayout) -> Store:
    """Return a store with its joints in another layout; the store itself where it is the same.

    Args:
        store: any prepared store.
        layout: the encoder's.

    Raises:
        UserError: a joint can be neither found nor placed, or the cache cannot be written.
    """
    if store.layout.joints == layout.joints:
        return store
    about = {"store": store.digest, "layout": layout.to_dict(), "version": VERSION}
    make = partial(_write, store, layout)
    return Cache.of(store).get("converted", about, make, _open)


def _open(folder: Path) -> Store:
    try:
        return Store.open(folder)
    except UserError as error:
        raise FileNotFoundError(str(error)) from None


def _write(store: Store, layout: JointLayout, out: Path) -> None:
    data = out / "data-converted"
    data.mkdir()
    shape = (int(store.manifest["counts"]["rows"]), len(layout.joints), 3)
    path = data / "joints.npy"
    joints = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    index = store.index.copy()
    sums = []
    for position, offset in enumerate(index["offset"]):
        sequence = convert(store.joints(position), store.layout, layout)
        flat = sequence.reshape(-1, *sequence.shape[2:])
        joints[offset : offset + len(flat)] = flat
        sums.append(rows_checksum(flat))
    joints.flush()
    del joints
    index["checksum"] = sums
    index.to_parquet(data / "index.parquet")
    manifest = {**store.manifest, "layout": layout.to_dict(), "data": data.name}
    manifest["checksum"] = content_checksum(index, manifest)
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
