"""Builds a language concept table of captions, from cached features, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.encoders import Encoder
from c2vl.prompts.encoders.feature_cache import FeatureCache
from c2vl.prompts.table import CHUNK, ConceptTable
from c2vl.prompts.table_writing import may_write, write_table
from c2vl.support.errors import UserError
from c2vl.support.progress import progress


@dataclass(frozen=True)
class BuiltTable:
    """The outcome of building a table.

    Attributes:
        read: prompts that the encoder read; the rest were cached.
    """

    table: ConceptTable
    read: int


def build(
    out: Path,
    texts: Mapping[str, Sequence[str]],
    encoder: Encoder[str],
    *,
    cache: Path | None = None,
    counts: dict[str, Any] | None = None,
    overwrite: bool = False,
    **recorded: Any,
) -> BuiltTable:
    """Encode captions and write their table.

    Args:
        texts: sequence → P captions.
        cache: where features are kept between runs; beside ``out`` when not given.
        counts: more figures for the manifest.
        **recorded: what else the table records of its making, as :func:`write_table` takes.

    Raises:
        UserError: ``out`` holds something else, or a caption is empty.
    """
    may_write(Path(out), overwrite=overwrite)
    names = list(texts)
    features = FeatureCache(cache or Path(out).parent / "cache", encoder.identity)
    distinct = list(dict.fromkeys(text for row in texts.values() for text in row))
    new = features.missing(distinct)
    done = 0

    # All new captions go first, so that a shard sees many of them and batches of like length.
    with progress("captions encoded") as shown:

        def on_new(more: int) -> None:
            nonlocal done
            done += more
            shown(done, len(new))

        features.add(new, encoder, on_new=on_new)

    def parts() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(names), CHUNK):
            rows = [texts[name] for name in names[start : start + CHUNK]]
            flat = features.features([text for row in rows for text in row], encoder)
            yield flat.reshape(len(rows), -1, flat.shape[1])

    table = write_table(
        out,
        names,
        parts(),
        modality="language",
        model=encoder.identity,
        texts=list(texts.values()),
        counts=count(texts.values()) | {"long_captions": features.long(distinct)} | (counts or {}),
        overwrite=overwrite,
        **recorded,
    )
    return BuiltTable(table, len(new))


def existing(
    out: Path, store: str, model: str, settings: dict[str, Any], *, overwrite: bool
) -> ConceptTable | None:
    """Return the table at ``out`` if it is exactly what would be made; None if one may be written.

    Args:
        store, model, settings: what would be written into its manifest.

    Raises:
        UserError: another table is there.
    """
    if not (Path(out) / "manifest.json").is_file():
        return None
    try:
        table = ConceptTable.open(out)
    except UserError:
        if overwrite:
            return None
        raise
    found = [table.manifest.get(key) for key in ("store", "model", "settings")]
    if found == [store, model, settings]:
        return table
    if overwrite:
        return None
    raise UserError(
        f"{out}: holds a table of another store, encoder or rules; give another OUT, or --overwrite"
    )


def count(texts: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Count captions: how many, how many distinct, how long, how shared.

    ``most_shared_caption`` is the largest share of sequences that one caption is found in.
    """
    shared: dict[str, int] = {}
    sequences = captions = words = 0
    for row in texts:
        sequences += 1
        captions += len(row)
        words += sum(len(text.split()) for text in row)
        for text in set(row):
            shared[text] = shared.get(text, 0) + 1
    if not captions:
        raise UserError("there are no captions")
    return {
        "captions": captions,
        "distinct_captions": len(shared),
        "most_shared_caption": round(max(shared.values()) / sequences, 4),
        "mean_words": round(words / captions, 1),
    }
