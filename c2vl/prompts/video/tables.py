"""From the crops and answers of ``c2vl prompts video`` to concept tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.prompts import language_table
from c2vl.prompts.encoders import Encoder
from c2vl.prompts.encoders.feature_cache import SHARD, FeatureCache
from c2vl.prompts.language_table import BuiltTable
from c2vl.prompts.table_writing import may_write, within_store, write_table
from c2vl.prompts.video.shards import PromptFolder
from c2vl.prompts.video.stages import Stage, run_stages
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.progress import progress

_SEQUENCES = 256  # whose pictures are in memory at once


def encode_prompts(
    run: Path,
    out: Path,
    open_encoder: Callable[[], Encoder[Any]],
    modality: Literal["language", "vision"],
    *,
    store: Store | None = None,
    cache: Path | None = None,
    workers: int = 0,
    gpus: float = 0.0,
    overwrite: bool = False,
) -> BuiltTable:
    """Encode the answers (language) or the crops (vision) of a folder of prompts.

    Each row of a language table also holds the caption's question, status and crop.

    Args:
        run: the folder of ``c2vl prompts video``.
        open_encoder: opens the text or image encoder, here and in each actor on Ray.
        store: sequences that it does not have are left out and listed in ``rejected.csv``.
        cache: where features are kept between runs; beside ``out`` when not given.
        workers: actors of Ray Data that encode; 0: this process does.

    Raises:
        UserError: there is nothing to encode, or ``out`` holds something else.
    """
    folder, where, encoder = PromptFolder(run), cache or out.parent / "cache", open_encoder()
    may_write(out, overwrite=overwrite)
    crops = folder.cropped()
    table = folder.answered() if modality == "language" else crops
    if table.empty:
        raise UserError(f"{run}: has nothing to encode yet; run `c2vl prompts video` to its end")
    kept, rejected = within_store(list(table["id"].unique()), store, run)
    table = table[table["id"].isin(kept)].sort_values(["id", "prompt"], kind="stable")
    if modality == "language":
        places = crops[["id", "prompt", "crop", "time"]]
        table = table.merge(places, on=["id", "prompt"], how="left")
    table = table.reset_index(drop=True)
    record: dict[str, Any] = {
        "rejected": rejected,
        "store": store.digest if store is not None else "",
        "settings": {"method": "video", "run": folder.settings},
        "overwrite": overwrite,
    }
    if workers:
        items: list[Any] = list(table["shard"].unique())
        if modality == "language":
            new = FeatureCache(where, encoder.identity).missing(list(table["text"]))
            items = [new[i : i + SHARD] for i in range(0, len(new), SHARD)]
        fill = _FillCache(where.absolute(), open_encoder, run.absolute())
        stages = [Stage("encode", fill, workers, gpus)]
        with progress("shards encoded") as shown:
            for done, _ in enumerate(run_stages(items, stages, on_ray=True), start=1):
                shown(done, len(items))
    if modality == "vision":
        cache_of = FeatureCache(where, encoder.identity)
        return _vision(folder, out, table, encoder, cache_of, record)
    statuses = table["status"].value_counts()
    return language_table.build(
        out,
        {str(name): list(texts) for name, texts in table.groupby("id", sort=False)["text"]},
        encoder,
        cache=where,
        columns=table[["question", "status", "crop", "time"]],
        source=f"answers of {folder.settings['model']}",
        counts={"answers": {str(name): int(number) for name, number in statuses.items()}},
        **record,
    )


def _vision(
    folder: PromptFolder,
    out: Path,
    table: pd.DataFrame,
    encoder: Encoder[bytes],
    cache: FeatureCache,
    record: dict[str, Any],
) -> BuiltTable:
    """Write the table of crops part by part: all pictures need not fit the memory."""
    names = list(table["id"].drop_duplicates())
    prompts, read = len(table) // len(names), 0

    def on_new(more: int) -> None:
        nonlocal read
        read += more

    def parts_NPD() -> Iterator[NDArray[np.float32]]:
        with progress("sequences encoded") as shown:
            for start in range(0, len(names), _SEQUENCES):
                rows = table.iloc[start * prompts : (start + _SEQUENCES) * prompts]
                found = cache.features(folder.pictures(rows), encoder, on_new=on_new)
                shown(min(start + _SEQUENCES, len(names)), len(names))
                yield found.reshape(-1, prompts, found.shape[1])

    made = write_table(
        out,
        names,
        parts_NPD(),
        modality="vision",
        model=encoder.identity,
        columns=table[["crop", "time"]],
        source=f"crops around persons found by {folder.settings['persons']}",
        counts={"pictures": len(table)},
        **record,
    )
    return BuiltTable(made, read)


class _FillCache:
    """Writes features of captions, or of a shard's crops, into the cache; an actor's work on Ray.

    A restart encodes only what is not in the cache.
    """

    def __init__(self, cache: Path, open_encoder: Callable[[], Encoder[Any]], run: Path) -> None:
        self.cache, self.open_encoder, self.run = cache, open_encoder, run
        self.encoder: Encoder[Any] | None = None

    def __call__(self, item: str | list[str]) -> None:
        """Encode captions (a list) or the crops of a shard (its name)."""
        self.encoder = self.encoder or self.open_encoder()
        items: list[Any] = list(item)
        if isinstance(item, str):
            folder = PromptFolder(self.run)
            rows = pd.read_parquet(folder.crops / f"{item}.parquet")
            items = folder.pictures(rows.assign(shard=item))
        cache = FeatureCache(self.cache, self.encoder.identity)
        if new := cache.missing(items):
            cache.encode(new, self.encoder)
