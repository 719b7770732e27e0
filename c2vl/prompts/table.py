"""A concept table: a frozen encoder's features of every sequence's prompts, of one modality.

Shapes: N sequences, P prompts a sequence, D feature size.

A table is a folder::

    manifest.json    modality, encoder (name and content), the store it was made for, source,
                     settings (question, model that answered …), counts, digest
    features.npy     float16 (N sequences, P prompts, D), memory-mapped; float32 in tables of format
                     1, and where features are of a length that float16 does not hold well
    prompts.parquet  id, prompt (0..P-1), text (empty for a picture); from video also question,
                     status (of the answer), crop (file:offset:length), time
    rejected.csv     sequences without a row, with the reason (present when there are some)

It may lie at a URL as well, and is read from a copy in this machine's cache then.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.staging import MANIFEST, Kind, staged
from c2vl.support.errors import UserError
from c2vl.support.files import (
    parse_json,
)
from c2vl.support.remote import Location, parse_location

if TYPE_CHECKING:  # as in store.py
    import pandas as pd

FORMAT = 2
"""Format 1 has float32 features and does not say so; it is read as well."""
RICHER = 6
"""Version of the rules whose captions are about one matter each (:mod:`.rules.sentences`)."""
CHUNK = 2048
"""Sequences read or written at a time: features of a whole table need not fit the memory."""


@dataclass(frozen=True)
class Joined:
    """A table's sequences beside those of a store.

    Attributes:
        present: (n,) bool, of the store's sequences: it has prompts here.
        missing: the names of those that have none.
        surplus: names in the table that the store does not have.
    """

    present: NDArray[np.bool_]
    missing: list[str]
    surplus: list[str]


class ConceptTable:
    """Concept features, open for reading.

    Attributes:
        path: the table's folder.
        manifest: ``manifest.json``.
        ids: sequence names, in the order of the features.
        features: float16 or float32 (N, P, D), memory-mapped.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], ids: list[str], features: NDArray[np.floating]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.ids = ids
        self.features = features

    @classmethod
    def open(cls, location: Location, *, modality: str | None = None) -> ConceptTable:
        """Open a table.

        Args:
            location: its folder, or its URL.
            modality: the one that it must have.

        Raises:
            UserError: it is absent, damaged, of another version or of another modality.
        """
        location = parse_location(location)
        what = f"{modality} concept" if modality else "concept"
        try:
            path = staged(location, KIND) if isinstance(location, str) else location
            manifest = parse_json((path / MANIFEST).read_bytes())
        except UserError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{location}: there is no {what} table here; make a language table with `c2vl "
                "prompts kinematic STORE OUT` or `c2vl prompts import`, one of either modality "
                "from video with `c2vl prompts video` and `encode`, or bring features with `c2vl "
                "prompts features`"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{location}/manifest.json: cannot be read ({error})") from None
        if not isinstance(manifest, dict) or manifest.get("format") not in (1, FORMAT):
            raise UserError(f"{location}/manifest.json: no concept table of format 1 or {FORMAT}")
        if not {"modality", "counts"} <= manifest.keys():
            held = "a store of sequences" if "reader" in manifest else "something else"
            raise UserError(
                f"{location}: holds {held}, and a {what} table is asked for; `c2vl prompts "
                f"kinematic STORE OUT` makes one"
            )
        sizes = ("sequences", "prompts_per_sequence", "dim")
        kinds: dict[str, type] = dict.fromkeys(("model", "store", "source", "digest"), str)
        kinds |= {"counts": dict, "settings": dict}
        bad = [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]
        bad = bad or [f"counts.{name}" for name in sizes if name not in manifest["counts"]]
        if bad:
            raise UserError(
                f"{location}/manifest.json: damaged, without {', '.join(bad)}; make the table again"
            )
        if modality is not None and manifest["modality"] != modality:
            raise UserError(
                f"{location}: holds {manifest['modality']} concepts, and {modality} ones are asked "
                "for"
            )
        from pyarrow import compute, parquet

        try:
            features: NDArray[np.floating] = np.load(path / "features.npy", mmap_mode="r")
            # most of what Arrow has to read and compare would import pandas: half a second
            table = parquet.ParquetFile(path / "prompts.parquet").read(columns=["id", "prompt"])
            others = compute.cast(table["prompt"], "bool")  # all but prompt 0
            first = table["id"].filter(compute.invert(others))
        except Exception as error:  # numpy and pyarrow raise many kinds on damaged files
            raise UserError(f"{path}: the table is damaged ({error}); make it again") from None
        ids = [str(name) for name in first.to_pylist()]
        counts, dtype = manifest["counts"], manifest.get("dtype", "float32")
        shape = tuple(counts[name] for name in sizes)
        if features.shape != shape or features.dtype != dtype or len(ids) != shape[0]:
            raise UserError(
                f"{path}: features are {features.dtype} {features.shape} for {len(ids)} names, "
                f"expected {dtype} {shape}; make the table again"
            )
        return cls(path, manifest, ids, features)

    @property
    def modality(self) -> str:
        """``language`` or ``vision``."""
        return str(self.manifest["modality"])

    @property
    def prompts_per_sample(self) -> int:
        """P, the prompts of a sequence."""
        return int(self.features.shape[1])

    def untold(self, drawn: int) -> str:
        """Say what a training misses that draws so many of a sequence's prompts at each step.

        Captions of rules 6 are about one matter each. Empty where all prompts are used (``drawn``
        is 0), or each tells of the whole.
        """
        if not 0 < drawn < self.prompts_per_sample:
            return ""
        if self.manifest["settings"].get("rules") != RICHER:
            return ""
        return (
            f"{drawn} of {self.prompts_per_sample} captions a sequence are drawn at each step, "
            "and each is about one matter: use all of them with prompts.per_sample=0"
        )

    @property
    def dim(self) -> int:
        """D, the size of a feature."""
        return int(self.features.shape[2])

    @property
    def digest(self) -> str:
        """Checksum of features and prompts, as recorded."""
        return str(self.manifest["digest"])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids)}

    def places(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the features that hold the named sequences, (n,); -1: none does."""
        return np.array([self._places.get(name, -1) for name in ids], dtype=np.int64)

    def joined(self, ids: Sequence[str]) -> Joined:
        """Compare the table's names with a store's."""
        present = self.places(ids) >= 0
        missing = [name for name, there in zip(ids, present, strict=True) if not there]
        wanted = set(ids)
        return Joined(present, missing, [name for name in self.ids if name not in wanted])

    def every_place(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the features that hold the named sequences, (n,).

        Raises:
            UserError: sequences have no features here; it names some of them.
        """
        places = self.places(ids)
        missing = [name for name, place in zip(ids, places, strict=True) if place < 0]
        if missing:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise UserError(
                f"{self.path}: {len(missing)} of {len(ids)} sequences have no {self.modality} "
                f"prompts ({shown}); make the table again for this store, or set prompts.missing "
                "to exclude or mask"
            )
        return places

    def join(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the features of the named sequences in that order, (n, P, D).

        Raises:
            UserError: sequences have no features here; it names some of them.
        """
        return self.features[self.every_place(ids)].astype(np.float32, copy=False)

    def means(
        self,
        ids: Sequence[str],
        *,
        parts: int = 1,
        chosen: NDArray[np.int64] | slice = slice(None),
    ) -> NDArray[np.float32]:
        """Return the unit-norm mean prompts of the named sequences, (n, parts * D).

        Args:
            ids: see :meth:`join`.
            parts: equal parts of the prompts in time, whose means stand side by side.
            chosen: which of the P prompts count.
        """
        number = len(np.arange(self.prompts_per_sample)[chosen])
        edges = np.linspace(0, number, parts + 1).round().astype(int)
        found = []
        for start in range(0, len(ids), CHUNK):
            rows = self.join(ids[start : start + CHUNK])[:, chosen]
            spans = itertools.pairwise(edges)
            found.append(np.concatenate([rows[:, a:b].mean(axis=1) for a, b in spans], axis=1))
        mean = np.concatenate(found)
        unit: NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def texts(self, sequence: str | None = None) -> pd.DataFrame:
        """Return the prompts (id, prompt, text), of one sequence or of all.

        Raises:
            UserError: the sequence is not in the table.
        """
        import pandas as pd

        table = pd.read_parquet(self.path / "prompts.parquet")
        if sequence is None:
            return table
        self.join([sequence])
        return table[table["id"] == sequence].reset_index(drop=True)


def digest_of(features: Path, index: pd.DataFrame) -> str:
    """Return the checksum of a table's features and prompts."""
    digest = hashlib.sha256()
    for start in range(0, len(np.load(features, mmap_mode="r")), CHUNK):
        part_NPD = np.load(features, mmap_mode="r")[start : start + CHUNK]  # unmapped after it
        digest.update(part_NPD.tobytes())
    for start in range(0, len(index), CHUNK):
        part = index.iloc[start : start + CHUNK]
        digest.update(part.to_csv(index=False, header=start == 0, lineterminator="\n").encode())
    return digest.hexdigest()


def _verify(folder: Path) -> None:
    """Read a table and compare it with its digest.

    Raises:
        UserError: it is not what its manifest says.
    """
    table = ConceptTable.open(folder)
    if digest_of(folder / "features.npy", table.texts()) != table.digest:
        raise UserError(f"{folder}: features and prompts do not fit the digest")


_FILES = ("features.npy", "prompts.parquet", "rejected.csv")
KIND = Kind("table", files=lambda _: _FILES, owned=(MANIFEST, *_FILES), verify=_verify)
