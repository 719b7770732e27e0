"""From the crops and answers of a run to concept tables: what the trainer reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.prompts import language_table
from c2vl.prompts.encoders import Encoder
from c2vl.prompts.encoders.feature_cache import SHARD, FeatureCache
from c2vl.prompts.encoders.image import ImageEncoder
from c2vl.prompts.encoders.text import TextEncoder
from c2vl.prompts.language_table import Made
from c2vl.prompts.table import ConceptTable, may_write
from c2vl.prompts.video.shards import Folder
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress

_SEQUENCES = 256  # whose pictures are in memory at once


def language(
    run: Path,
    out: Path,
    encoder: TextEncoder,
    *,
    store: Store | None = None,
    cache: Path | None = None,
    workers: int = 0,
    gpus: float = 0.0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Encode the answers of a run; each caption's row tells its question, status and crop.

    Args:
        run: the run's folder.
        out: the table's folder.
        encoder: what reads the captions.
        store: sequences that it does not have are left out and listed in ``rejected.csv``.
        cache: where features are kept between runs; beside ``out`` when not given.
        workers: actors of Ray Data that encode; 0: this process does.
        gpus: of each of them.
        overwrite: replace a table at ``out``.
        progress: called with captions encoded and to encode, where this process does it.

    Raises:
        UserError: the run has no answers, or ``out`` holds something else.
    """
    folder, where = Folder(run), cache or Path(out).parent / "cache"
    table, rejected, digest = _of_store(folder.answered(), run, store)
    table = table.merge(_places(folder), on=["id", "prompt"], how="left")
    rows = [list(texts) for _, texts in table.groupby("id", sort=False)["text"]]
    may_write(Path(out), overwrite=overwrite)
    if workers:
        new = FeatureCache(where, encoder.identity).missing([text for row in rows for text in row])
        parts = [{"items": new[i : i + SHARD]} for i in range(0, len(new), SHARD)]
        _fill(where, encoder, None, parts, workers, gpus)
    return language_table.build(
        out,
        dict(zip(table["id"].drop_duplicates(), rows, strict=True)),
        encoder,
        cache=where,
        columns=table[["question", "status", "crop", "time"]],
        rejected=rejected,
        store=digest,
        source=f"answers of {folder.settings['model']}",
        settings={"method": "video", "run": folder.settings},
        counts={"answers": {str(k): int(v) for k, v in table["status"].value_counts().items()}},
        overwrite=overwrite,
        progress=progress,
    )


def vision(
    run: Path,
    out: Path,
    encoder: ImageEncoder,
    *,
    store: Store | None = None,
    cache: Path | None = None,
    workers: int = 0,
    gpus: float = 0.0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Encode the crops of a run. See :func:`language`.

    Raises:
        UserError: the run has no crops, or ``out`` holds something else.
    """
    folder, where = Folder(run), cache or Path(out).parent / "cache"
    may_write(Path(out), overwrite=overwrite)
    table, rejected, digest = _of_store(folder.cropped(), run, store)
    table["crop"] = _crop(table)
    if workers:
        parts = [{"shard": shard} for shard in table["shard"].drop_duplicates()]
        _fill(where, encoder, run, parts, workers, gpus)
    features = FeatureCache(where, encoder.identity)
    names = list(table["id"].drop_duplicates())
    prompts = len(table) // len(names)
    read = 0

    def on_new(more: int) -> None:
        nonlocal read
        read += more

    def parts_of_table() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(names), _SEQUENCES):
            rows = table.iloc[start * prompts : (start + _SEQUENCES) * prompts]
            found = features.features(_pictures(folder, rows), encoder, on_new=on_new)
            if progress is not None:
                progress(min(start + _SEQUENCES, len(names)), len(names))
            yield found.reshape(-1, prompts, found.shape[1])

    made = ConceptTable.write(
        out,
        names,
        parts_of_table(),
        modality="vision",
        model=encoder.identity,
        columns=table[["crop", "time"]],
        rejected=rejected,
        store=digest,
        source=f"crops around persons found by {folder.settings['persons']}",
        settings={"method": "video", "run": folder.settings},
        counts={"pictures": len(table)},
        overwrite=overwrite,
    )
    return Made(made, read)


def _of_store(
    table: pd.DataFrame, run: Path, store: Store | None
) -> tuple[pd.DataFrame, list[tuple[str, str]], str]:
    """Order a run's rows by sequence and prompt, without those that a store does not have."""
    if table.empty:
        raise UserError(f"{run}: has nothing to encode yet; run `c2vl prompts video` to its end")
    table = table.sort_values(["id", "prompt"], kind="stable").reset_index(drop=True)
    if store is None:
        return table, [], ""
    known = {str(name) for name in store.index["id"]}
    kept = table["id"].isin(known)
    wrong = [(str(name), "not in the store") for name in table.loc[~kept, "id"].unique()]
    if not kept.any():
        raise UserError(
            f"{run}: none of its {len(wrong)} sequences is in {store.path}; its names are like "
            f"{wrong[0][0]}, the store's like {min(known)}"
        )
    return table[kept].reset_index(drop=True), wrong, store.digest


def _crop(table: pd.DataFrame) -> list[str]:
    """Where each picture lies in the run's folder: ``file:offset:length``."""
    parts = zip(table["shard"], table["offset"], table["length"], strict=True)
    return [f"crops/{shard}.tar:{offset}:{length}" for shard, offset, length in parts]


def _places(folder: Folder) -> pd.DataFrame:
    table = folder.cropped()
    return table.assign(crop=_crop(table))[["id", "prompt", "crop", "time"]]


def _pictures(folder: Folder, rows: pd.DataFrame) -> list[bytes]:
    parts = zip(rows["shard"], rows["offset"], rows["length"], strict=True)
    return [folder.picture(*part) for part in parts]


class _Filler:
    """A Ray Data stage: holds an encoder, and writes shards of the cache."""

    def __init__(self, cache: Path, encoder: Encoder[Any], run: Path | None) -> None:
        self.cache, self.encoder, self.run = cache, encoder, run

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        cache = FeatureCache(self.cache, self.encoder.identity)
        items: Sequence[Any]
        if self.run is not None:
            folder = Folder(self.run)
            table = pd.read_parquet(folder.crops / f"{row['shard']}.parquet")
            items = _pictures(folder, table.assign(shard=row["shard"]))
        else:
            items = row["items"]
        try:
            if new := cache.missing(list(items)):
                cache.encode(new, self.encoder)
        except UserError as mistake:  # as a row: Ray would wrap it in tracebacks
            return {"mistake": str(mistake)}
        return {"mistake": ""}


def _fill(
    cache: Path,
    encoder: Encoder[Any],
    run: Path | None,
    parts: list[dict[str, Any]],
    workers: int,
    gpus: float,
) -> None:
    """Encode on Ray Data; shards of the cache are what a restart goes on from."""
    if not parts:
        return
    import ray.data

    from c2vl.prompts.video.pipeline import ray_session

    with ray_session(workers):
        rows: Any = ray.data.from_items(parts, override_num_blocks=len(parts))
        rows = rows.map(
            _Filler,
            fn_constructor_args=(cache.absolute(), encoder, run.absolute() if run else None),
            concurrency=workers,
            num_gpus=gpus or None,
        )
        for row in rows.iter_rows():
            if row["mistake"]:
                raise UserError(row["mistake"])
