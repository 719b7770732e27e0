"""From a store's motion to a language concept table: captions, then cached features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from c2vl.errors import UserError
from c2vl.prompts.cache import Encoder, FeatureCache
from c2vl.prompts.concepts import ConceptTable
from c2vl.prompts.encoders import Progress
from c2vl.prompts.kinematic import RULES, WINDOWS, captions
from c2vl.skeletons.store import Store


def caption_store(store: Store, *, windows: int = WINDOWS) -> list[list[str]]:
    """Return the captions of every sequence, in the store's order."""
    fps = float(store.manifest.get("settings", {}).get("fps") or 30)
    return [
        captions(store.joints(position), store.layout, windows=windows, fps=fps)
        for position in range(len(store))
    ]


def shared_by(texts: Iterable[Sequence[str]]) -> tuple[int, float]:
    """Return how many captions are distinct, and the largest share of sequences one is found in."""
    counts: dict[str, int] = {}
    sequences = 0
    for row in texts:
        sequences += 1
        for text in set(row):
            counts[text] = counts.get(text, 0) + 1
    return len(counts), max(counts.values()) / sequences


def build(
    store: Store,
    out: Path,
    encoder: Encoder,
    *,
    cache: Path | None = None,
    windows: int = WINDOWS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[ConceptTable, int]:
    """Write the kinematic language table of a store.

    Args:
        store: the sequences.
        out: the table's folder.
        encoder: what reads the captions.
        cache: where features are kept between runs; beside ``out`` when not given.
        windows: captions a sequence.
        overwrite: replace another table at ``out``; the very same one is left alone.
        progress: called with captions encoded and to encode.

    Returns:
        The table, and how many captions the model had to read (the rest were cached).

    Raises:
        UserError: ``out`` holds something else.
    """
    settings = {"method": "kinematic", "rules": RULES, "windows": windows}
    made = _existing(out, store, encoder, settings, overwrite=overwrite)
    if made is not None:
        return made, 0
    texts = caption_store(store, windows=windows)
    features = FeatureCache(cache or Path(out).parent / "cache", encoder)
    flat = [text for row in texts for text in row]
    rows, cut = features.features(flat, progress=progress)
    distinct, share = shared_by(texts)
    table = ConceptTable.write(
        out,
        [str(name) for name in store.index["id"]],
        rows.reshape(len(texts), windows, rows.shape[1]),
        modality="language",
        model=encoder.identity,
        texts=texts,
        store=store.digest,
        source="kinematic captions, by rules from the motion alone",
        settings=settings,
        counts={
            "captions": len(flat),
            "distinct_captions": distinct,
            "most_shared_caption": round(share, 4),
            "mean_words": round(float(np.mean([len(text.split()) for text in flat])), 1),
            "truncated_captions": int(cut.sum()),
        },
        overwrite=overwrite,
    )
    return table, features.encoded


def _existing(
    out: Path, store: Store, encoder: Encoder, settings: dict[str, object], *, overwrite: bool
) -> ConceptTable | None:
    """Return the table at ``out`` if it is just what would be made, None if one may be written."""
    if not (Path(out) / "manifest.json").is_file():
        return None
    try:
        table = ConceptTable.open(out)
    except UserError:
        if overwrite:
            return None
        raise
    found = [table.manifest.get(key) for key in ("store", "model", "settings")]
    if found == [store.digest, encoder.identity, settings]:
        return table
    if overwrite:
        return None
    raise UserError(
        f"{out}: holds a table of another store, encoder or rules; give another OUT, or --overwrite"
    )
