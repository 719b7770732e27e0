"""A nearest-neighbour index of a store's motions, to search by example or by text.

FAISS's exact inner product on unit rows: the same answer every time, in milliseconds for datasets
of this size. Shapes: n sequences, F features, D concept dimensions. An index is a folder::

    features.faiss   unit features
    language.faiss   the same sequences in the language space, where the encoder keeps its map
    rows.parquet     id, label, class, subject of each, in the same order
    index.json       encoder, store, digests, the mean of the language rows
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.encoder import Encoder
from c2vl.encoder.card import read_file, read_versioned
from c2vl.encoder.store_features import store_features
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.files import replacing_folder

Floats = NDArray[np.float32]
FORMAT, VERSION = "c2vl-index", 1
CARD, ROWS = "index.json", "rows.parquet"
_MADE_BY = "an index is a folder made by `c2vl index`"
FEATURES, LANGUAGE = "features.faiss", "language.faiss"
_NO_LANGUAGE = (
    "search by text: the encoder keeps no map into a language space, since it was trained without "
    "captions; search by a recording, or index with an encoder trained with prompts.language"
)


@dataclass(frozen=True)
class Neighbour:
    """A sequence that was found.

    Attributes:
        id: of the sequence.
        name: of its class.
        score: cosine, -1..1.
    """

    id: str
    name: str
    score: float


class Index:
    """An index, open for searching.

    Attributes:
        card: what ``index.json`` holds.
        rows: the indexed sequences.
    """

    def __init__(self, features: Any, language: Any | None, rows: pd.DataFrame, card: Any) -> None:
        self._features, self._language = features, language
        self.rows, self.card = rows, card

    @property
    def has_language(self) -> bool:
        """Whether it can be searched by text."""
        return self._language is not None

    def fits(self, encoder: Encoder) -> None:
        """Check that it belongs to an encoder; a UserError says what to do where it does not."""
        if self.card["encoder"] != encoder.digest:
            raise UserError(
                f"the index was built with encoder {self.card['encoder'][:12]}, this is "
                f"{encoder.digest[:12]}; build one: c2vl index ENCODER STORE OUT"
            )

    def by_features(self, features: Floats, k: int) -> list[list[Neighbour]]:
        """Return the k nearest sequences of each feature (n, F), nearest first."""
        return self._search(self._features, _unit(features), k)

    def by_text(self, concepts: Floats, k: int) -> list[list[Neighbour]]:
        """Return the k nearest sequences of rows (n, D) of the language space, nearest first."""
        if self._language is None:
            raise UserError(_NO_LANGUAGE)
        return self._search(self._language, _unit(concepts), k)

    def _search(self, index: Any, rows: Floats, k: int) -> list[list[Neighbour]]:
        scores, places = index.search(np.ascontiguousarray(rows), min(k, len(self.rows)))
        ids, names = self.rows["id"].to_numpy(), self.rows["class"].to_numpy()
        return [
            [
                Neighbour(str(ids[at]), str(names[at]), float(score))
                for at, score in zip(where, found, strict=True)
            ]
            for where, found in zip(places, scores, strict=True)
        ]


def build_index(encoder: Encoder, store: Store, out: Path) -> None:
    """Index every sequence of a store, all or nothing.

    Args:
        encoder: gives the features.
        store: what is indexed.
        out: the folder to make, or to replace.
    """
    import faiss

    features = store_features(encoder, store)
    names = np.array([*store.class_names, "unknown"], dtype=object)
    rows = store.index[["id", "label", "subject"]].astype({"id": str}).reset_index(drop=True)
    rows.insert(2, "class", names[rows["label"].to_numpy()])
    sides = {FEATURES: _unit(features)}
    card: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "encoder": encoder.digest,
        "store": store.digest,
        "dataset": store.manifest["dataset"],
        "sequences": len(rows),
        "sha256": {},
    }
    if (space := encoder.concepts.get("language")) is not None:
        placed = space.of_features(features)
        sides[LANGUAGE] = _unit(placed - placed.mean(0))  # what all motions share answers no text
        card["language"] = space.encoder
    with replacing_folder(out) as partial:
        rows.to_parquet(partial / ROWS)
        for file, vectors in sides.items():
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors))
            data = faiss.serialize_index(index).tobytes()
            (partial / file).write_bytes(data)
        for file in (ROWS, *sides):
            data = (partial / file).read_bytes()
            card["sha256"][file] = hashlib.sha256(data).hexdigest()
        (partial / CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")


def load_index(folder: Path) -> Index:
    """Open an index; each file is compared with its digest before it is parsed.

    Raises:
        UserError: a file is missing, altered, or of another version.
    """
    import faiss

    card = read_versioned(folder / CARD, (FORMAT, VERSION), _MADE_BY)
    found: dict[str, bytes] = {}
    for file in (ROWS, FEATURES, LANGUAGE):
        wanted = card.get("sha256", {}).get(file)
        if wanted is None and file == LANGUAGE:
            continue
        found[file] = read_file(folder / file, _MADE_BY)
        if hashlib.sha256(found[file]).hexdigest() != wanted:
            raise UserError(f"{folder / file}: altered or cut short; build the index again")
    try:
        rows = pd.read_parquet(io.BytesIO(found[ROWS]))
        sides = {
            file: faiss.deserialize_index(np.frombuffer(data, np.uint8))
            for file, data in found.items()
            if file != ROWS
        }
        if any(side.ntotal != len(rows) for side in sides.values()):
            raise ValueError("its files are of different length")
    except Exception as error:  # faiss and pyarrow raise many kinds
        raise UserError(f"{folder}: the index is damaged ({error}); build it again") from None
    return Index(sides[FEATURES], sides.get(LANGUAGE), rows, card)


def text_rows(encoder: Encoder, texts: list[str]) -> Floats:
    """Return unit rows (n, D) of texts in the encoder's language space.

    Raises:
        UserError: the encoder keeps no map, or its text encoder is not here.
    """
    from c2vl.prompts.encoders import text_encoder_of

    space = encoder.concepts.get("language")
    if space is None:
        raise UserError(_NO_LANGUAGE)
    return space.of_concepts(text_encoder_of(space.encoder).encode(texts))


def _unit(rows: Floats) -> Floats:
    norm = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.asarray(rows / norm, np.float32)
