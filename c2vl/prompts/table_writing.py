"""Writing a concept table (:mod:`c2vl.prompts.table`), all or nothing.

Shapes: N sequences, P prompts a sequence, D feature size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.table import FORMAT, ConceptTable, digest_of
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError, not_utf8
from c2vl.support.files import (
    replacing_folder,
    require_apart,
    require_itself,
    require_writable,
    write_text,
)

if TYPE_CHECKING:  # as in store.py
    import pandas as pd

SHORTEST_HALF, LONGEST_HALF = 0.1, 1000.0
"""Lengths of features that float16 holds well; sentence encoders give 1."""
LEAST_HALF = 1e-3
"""A length below it loses more than a part in a thousand to float16's smallest numbers."""
MODALITIES = ("language", "vision")


def write_table(
    path: Path,
    ids: Sequence[str],
    features: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    *,
    modality: str,
    model: str,
    texts: Sequence[Sequence[str]] | None = None,
    columns: pd.DataFrame | None = None,
    rejected: Sequence[tuple[str, str]] = (),
    store: str = "",
    source: str = "",
    settings: dict[str, Any] | None = None,
    counts: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> ConceptTable:
    """Write a table, all or nothing.

    Args:
        path: the folder to make.
        ids: N sequence names, each once.
        features: (N, P, D), whole or in parts along N; parts are written as they come, as
            float16 if those of the first part are about as long as unit vectors.
        modality: ``language`` or ``vision``.
        model: identity of the encoder.
        texts: P prompts a sequence; None for pictures.
        columns: N * P rows of more columns for the Parquet file.
        rejected: sequences without a row, with the reason.
        store: digest of the store that the prompts describe.
        source: where the prompts come from.
        settings: how they were made.
        counts: more figures for the manifest.
        overwrite: replace a table at ``path``.

    Raises:
        UserError: shapes, names or values do not fit, or ``path`` is something else.
    """
    import pandas as pd

    path = Path(path)
    if isinstance(features, np.ndarray):
        _check_shape(path, features)
    if modality not in MODALITIES:
        raise UserError(f"modality: {modality!r} is not one of {', '.join(MODALITIES)}")
    may_write(path, overwrite=overwrite)
    with replacing_folder(path) as folder:
        parts = [features] if isinstance(features, np.ndarray) else features
        written = _write_features(folder / "features.npy", path, len(ids), parts)
        number, prompts, dim = written.shape
        if len(ids) != number or len(set(ids)) != len(ids):
            raise UserError(
                f"{path}: {len(ids)} names ({len(set(ids))} distinct) for {number} rows of "
                "features; each sequence needs one row and its own name"
            )
        if texts is not None and {len(row) for row in texts} != {prompts}:
            raise UserError(f"{path}: not every sequence has {prompts} prompts")
        flat = [text for row in texts for text in row] if texts is not None else []
        index = pd.DataFrame(
            {
                "id": np.repeat(np.array(ids, dtype=object), prompts),
                "prompt": np.tile(np.arange(prompts, dtype=np.int32), number),
                "text": flat or [""] * (number * prompts),
            }
        )
        if columns is not None:
            index = index.assign(**{str(k): columns[k].to_numpy() for k in columns})
        manifest = {
            "format": FORMAT,
            "dtype": written.dtype.name,
            "modality": modality,
            "model": model,
            "store": store,
            "source": source,
            "settings": settings or {},
            "counts": {"sequences": number, "prompts_per_sequence": prompts, "dim": dim}
            | {"rejected": len(rejected)}
            | (counts or {}),
            "digest": digest_of(folder / "features.npy", index),
        }
        index.to_parquet(folder / "prompts.parquet", index=False)
        if rejected:
            write_rejected(folder / "rejected.csv", rejected)
        text = json.dumps(manifest, indent=1) + "\n"
        (folder / "manifest.json").write_text(text, encoding="utf-8")
    return ConceptTable.open(path)


def import_features(
    features: Path, ids: Path, out: Path, *, modality: str, model: str, overwrite: bool = False
) -> ConceptTable:
    """Make a table of features computed elsewhere (person crops through CLIP, say).

    Args:
        features: ``.npy`` of floats, (N, P, D) or (N, D).
        ids: text file, one sequence name a line, in the same order.
        out: the table's folder.
        modality: ``language`` or ``vision``.
        model: what made the features.
        overwrite: replace a table at ``out``.

    Raises:
        UserError: a file cannot be read, or they do not fit each other.
    """
    try:
        require_itself(features)
        rows = np.load(features, allow_pickle=False)
        lines = ids.read_text(encoding="utf-8-sig").split("\n")
        names = [line.strip() for line in lines if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{ids}{not_utf8(error)}") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{features}, {ids}: cannot be read ({error})") from None
    if not isinstance(rows, np.ndarray):
        raise UserError(f"{features}: give one .npy array, not an archive")
    return write_table(
        out,
        names,
        rows[:, None] if rows.ndim == 2 else rows,
        modality=modality,
        model=model,
        source=features.name,
        overwrite=overwrite,
    )


def within_store(
    names: Sequence[str], store: Store | None, source: Path
) -> tuple[set[str], list[tuple[str, str]]]:
    """Divide a source's sequences into those that a store has and those to reject.

    Args:
        names: of the source's sequences.
        store: None keeps all.
        source: where the names come from, for the message.

    Returns:
        The names kept, and (name, reason) of the others.

    Raises:
        UserError: the store has none of them.
    """
    if store is None:
        return set(names), []
    known = {str(name) for name in store.index["id"]}
    rejected = [(str(name), "not in the store") for name in names if name not in known]
    if len(rejected) == len(names):
        raise UserError(
            f"{source}: none of its {len(names)} sequences is in {store.path}; its names are like "
            f"{rejected[0][0] if rejected else '-'}, the store's like {min(known)}"
        )
    return known.intersection(names), rejected


def may_write(path: Path, *, overwrite: bool) -> None:
    """Check that a table may be written at ``path``.

    Raises:
        UserError: ``path`` holds a table that is not to be replaced, or something else, or cannot
            be written.
    """
    require_apart(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not all((path / name).is_file() for name in ("manifest.json", "features.npy")):
            raise UserError(f"{path}: exists and is not a concept table; give another OUT")
        if not overwrite:
            raise UserError(f"{path}: holds a table already; give another OUT, or --overwrite")
    require_writable(path.parent)


def write_rejected(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write ``rejected.csv``: id, reason."""
    import pandas as pd

    write_text(path, pd.DataFrame(list(rows), columns=["id", "reason"]).to_csv(index=False))


def _check_shape(path: Path, rows: NDArray[Any]) -> None:
    if rows.ndim != 3 or rows.dtype.kind != "f" or 0 in rows.shape:
        raise UserError(
            f"{path}: features are {rows.dtype} {rows.shape}; expected floats "
            "(sequences, prompts, D)"
        )


def _write_features(
    file: Path, path: Path, number: int, parts: Iterable[NDArray[np.floating]]
) -> NDArray[np.floating]:
    """Write parts along N as one ``.npy``, and return it as it was written.

    The file is mapped for one part at a time: what is mapped counts as memory of the process.
    """
    target: NDArray[np.floating] | None = None
    done = 0
    for part in parts:
        _check_shape(path, part)
        lengths = np.linalg.norm(part.astype(np.float32, copy=False), axis=-1)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise UserError(f"{path}: some features are zero or not finite")
        if target is None:
            low, high = SHORTEST_HALF, LONGEST_HALF
            dtype = np.float16 if low <= lengths.min() <= lengths.max() <= high else np.float32
            shape = (max(number, len(part)), *part.shape[1:])
            np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        target = np.lib.format.open_memmap(file, mode="r+")
        odd = lengths[(lengths < LEAST_HALF) | (lengths > np.finfo(np.float16).max)]
        if target.dtype == np.float16 and len(odd):
            raise UserError(
                f"{path}: a feature is {odd[0]:.3g} long, and the first ones are about 1; "
                "scale them alike"
            )
        if part.shape[1:] != target.shape[1:] or done + len(part) > len(target):
            raise UserError(f"{path}: features of {number} names do not fit each other")
        target[done : done + len(part)] = part
        done += len(part)
    if target is None:
        raise UserError(f"{path}: no sequence has prompts")
    with file.open("rb") as written:
        os.fsync(written.fileno())
    return np.lib.format.open_memmap(file, mode="r")[:done]
