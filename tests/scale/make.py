"""Make a store and concept tables of any size, in the real formats, in seconds a million frames.

    python -m tests.scale.make runs/scale/114k --sequences 113945

The store looks like NTU RGB+D 120's (names, subjects, set-ups, 120 classes, 26 of them with two
persons, some 80 frames a sequence); its motions are smooth, of the class, and cost nothing to
compute. OUT then holds ``language`` and ``vision`` tables of 16 prompts × 768, whose features are
the class's direction under noise: probes and losses have something to find.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.datasets.ntu_classes import NTU120_CLASSES
from c2vl.skeletons.layout import NTU25
from c2vl.skeletons.rejected import write_rejected
from c2vl.skeletons.sequence import rows_checksum
from c2vl.skeletons.store import COLUMNS, FORMAT, Store, content_checksum

TOGETHER = (*range(49, 60), *range(105, 120))
"""Labels of the actions of two persons."""
_LONGEST = 300
_BANK = 512  # rows of noise, which sequences share
_BLOCK = 2048

Floats = NDArray[np.float32]


def make_store(out: Path, sequences: int, *, seed: int = 0) -> Store:
    """Write a store like NTU RGB+D 120's.

    Args:
        out: a new folder.
        sequences: N.
        seed: decides everything.
    """
    draw = np.random.default_rng(seed)
    number = np.arange(sequences)
    label, rest = number % 120, number // 120
    subject, camera = rest % 106 + 1, rest // 106 % 3 + 1
    replication, setup = rest // 318 % 2 + 1, rest // 636 + 1
    frames = np.clip(draw.lognormal(np.log(75), 0.35, sequences), 30, _LONGEST).astype(np.int64)
    bodies = 1 + np.isin(label, TOGETHER).astype(np.int64)
    columns = zip(setup, camera, subject, replication, label + 1, strict=True)
    ids = [f"S{s:03}C{c:03}P{p:03}R{r:03}A{a:03}" for s, c, p, r, a in columns]
    rows = bodies * frames
    data = out / "data-scale"
    data.mkdir(parents=True)
    joints = np.lib.format.open_memmap(
        data / "joints.npy", mode="w+", dtype=np.float32, shape=(int(rows.sum()), 25, 3)
    )
    offset = np.cumsum(rows) - rows
    motions, sizes = _motions(draw), draw.uniform(0.85, 1.15, 107).astype(np.float32)
    noise = (0.02 * draw.standard_normal((4 * _LONGEST, 25, 3))).astype(np.float32)
    starts = draw.integers(0, len(noise) - _LONGEST, sequences)
    checksums = []
    for at in range(sequences):
        length = frames[at]
        one = joints[offset[at] : offset[at] + rows[at]].reshape(bodies[at], length, 25, 3)
        one[:] = motions[label[at], :length] * sizes[subject[at]]
        one += noise[starts[at] : starts[at] + length]
        one[1:, ..., 0] += 0.9
        one[..., 2] += 3
        checksums.append(rows_checksum(one))
    joints.flush()
    source = [f"{name}.skeleton" for name in ids]
    facts = {"start": -1, "end": -1, "checksum": checksums, "source": source}
    known = {"id": ids, "label": label, "subject": subject, "camera": camera, "setup": setup}
    known |= {"replication": replication, "frames": frames, "bodies": bodies, "offset": offset}
    index = pd.DataFrame(known | facts)[list(COLUMNS)]
    index.to_parquet(data / "index.parquet", index=False)
    nothing = {"fingerprint": "", "sequences": 1, "rejected": "[]", "decisions": "{}"}
    pd.DataFrame({"name": source} | nothing).to_parquet(data / "sources.parquet", index=False)
    write_rejected(data / "rejected.csv", [])
    counts = {"sequences": sequences, "rejected": 0, "left_out": 0, "rows": int(rows.sum())}
    counts |= {"frames": int(frames.sum()), "classes": 120, "subjects": len(np.unique(subject))}
    counts |= {"one_body": int((bodies == 1).sum()), "two_bodies": int((bodies == 2).sum())}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dataset": "generated in NTU RGB+D 120's size",
        "reader": "ntu120",
        "source": {"generator": "tests.scale.make", "sequences": sequences, "seed": seed},
        "default_split": "xsub120",
        "class_names": list(NTU120_CLASSES),
        "layout": NTU25.to_dict(),
        "counts": counts,
        "decisions": {},
        "settings": {"units": "metres", "up": "y", "fps": 30, "dtype": "float32"},
        "data": data.name,
    }
    manifest["checksum"] = content_checksum(index, manifest)
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Store.open(out)


def _motions(draw: np.random.Generator) -> Floats:
    """Return a motion of each class (120, T, 25, 3): a person whose joints swing slowly."""
    person = draw.uniform(-0.4, 0.4, (25, 3)) + np.linspace(-0.9, 0.9, 25)[:, None] * [0, 1, 0]
    time_T = np.arange(_LONGEST)[:, None, None]
    speed, size, phase = (draw.uniform(low, high, (120, 1, 25, 3)) for low, high in _SWING)
    swings: Floats = (person + size * np.sin(speed * time_T + phase)).astype(np.float32)
    return swings


_SWING = ((0.02, 0.12), (0.0, 0.2), (0.0, 2 * np.pi))


def make_table(
    out: Path, store: Store, modality: str, *, prompts: int = 16, dim: int = 768, seed: int = 0
) -> ConceptTable:
    """Write a concept table of every sequence of a store.

    Args:
        out: a new folder.
        store: gives names and classes.
        modality: ``language`` or ``vision``.
        prompts: P.
        dim: D.
        seed: decides everything.
    """
    draw = np.random.default_rng([seed, len(modality)])
    labels = store.index["label"].to_numpy()
    classes = draw.standard_normal((len(store.class_names), dim)).astype(np.float32)
    common = 2 * draw.standard_normal(dim).astype(np.float32)
    bank = 2 * draw.standard_normal((_BANK, prompts, dim)).astype(np.float32)
    shifts = draw.integers(0, _BANK, len(store))

    def parts() -> Iterator[Floats]:
        for start in range(0, len(store), _BLOCK):
            chosen = slice(start, start + _BLOCK)
            rows = bank[shifts[chosen]]
            rows += classes[labels[chosen], None] + common
            rows /= np.linalg.norm(rows, axis=2, keepdims=True)
            yield rows

    names = store.class_names
    texts = None
    if modality == "language":
        windows = range(prompts)
        texts = [[f"{names[k]}: window {w}, both arms move" for w in windows] for k in labels]
    ids = [str(name) for name in store.index["id"]]
    return write_table(
        out, ids, parts(), modality=modality, model="generated", texts=texts, store=store.digest
    )


def main() -> None:
    """Make what the command line asks for, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sequences", type=int, default=113_945)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    store = make_store(given.out, given.sequences, seed=given.seed)
    took = time.perf_counter() - began
    frames = store.manifest["counts"]["frames"]
    print(f"store: {len(store)} sequences, {frames} frames, {took:.1f} s", flush=True)
    for modality in ("language", "vision"):
        began = time.perf_counter()
        size = {"prompts": given.prompts, "dim": given.dim, "seed": given.seed}
        table = make_table(given.out / modality, store, modality, **size)
        took = time.perf_counter() - began
        print(f"{modality}: {table.features.nbytes / 2**30:.2f} GiB, {took:.1f} s", flush=True)


if __name__ == "__main__":
    main()
