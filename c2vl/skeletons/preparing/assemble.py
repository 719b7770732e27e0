"""Assembles a store's arrays and tables from chunks, in the order of the source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.skeletons.datasets.base import Item
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.preparing.chunks import Chunk
from c2vl.skeletons.rejected import Rejected, write_rejected
from c2vl.skeletons.store import COLUMNS, SPLIT_PREFIX, Store
from c2vl.support.errors import UserError


@dataclass(frozen=True)
class Entry:
    """The result of reading one item.

    Attributes:
        sequences: rows of the index without their offset.
        rejected: its rejections, as dicts.
        decisions: name → (times, sequences).
        rows: the sequences' joints, one after the other, (rows, V, 3).
    """

    sequences: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    decisions: dict[str, list[int]]
    rows: NDArray[np.floating]


@dataclass
class Assembled:
    """A store's tables, as they were written.

    Attributes:
        index: the store's table.
        rows: rows of joints.npy.
        rejected: all that did not become a sequence.
        decisions: name → {"times", "sequences"}.
    """

    index: pd.DataFrame
    rows: int
    rejected: list[Rejected]
    decisions: dict[str, dict[str, int]] = field(default_factory=dict)


def assemble(
    folder: Path,
    items: list[Item],
    entries: Iterable[Entry],
    layout: JointLayout,
    dtype: str,
    rejected: Iterable[Rejected],
) -> Assembled:
    """Write ``joints.npy``, ``index.parquet``, ``sources.parquet`` and ``rejected.csv``.

    Args:
        entries: one an item.
        rejected: rejections from before reading.

    Raises:
        UserError: no sequence is left.
    """
    written = Assembled(pd.DataFrame(), 0, list(rejected))
    table: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    with (folder / "joints.npy").open("wb") as file:
        length = _header(file, 0, layout, dtype)
        for item, entry in zip(items, entries, strict=True):
            at = kept = 0
            unusable = [Rejected(**row) for row in entry.rejected]
            for sequence in entry.sequences:
                count = sequence["bodies"] * sequence["frames"]
                rows = entry.rows[at : at + count]
                at += count
                name = sequence["id"]
                if name in seen:
                    reason = f"a second sequence named {name}; the first is in {seen[name]}"
                    unusable.append(Rejected(sequence["source"], reason))
                    continue
                seen[name] = sequence["source"]
                table.append(sequence | {"offset": written.rows})
                file.write(np.ascontiguousarray(rows, dtype=dtype).data)
                written.rows += count
                kept += 1
            sources.append(
                {
                    "name": item.name,
                    # a duplicate depends on other files too: an empty fingerprint has it read again
                    "fingerprint": item.fingerprint if kept == len(entry.sequences) else "",
                    "sequences": kept,
                    "rejected": json.dumps([asdict(one) for one in unusable]),
                    "decisions": json.dumps(entry.decisions),
                }
            )
            written.rejected += unusable
            for decision, (times, where) in entry.decisions.items():
                both = written.decisions.setdefault(decision, {"times": 0, "sequences": 0})
                both["times"] += times
                both["sequences"] += where
        file.seek(0)
        if _header(file, written.rows, layout, dtype) != length:
            raise AssertionError("the header of joints.npy changed its length")
    write_rejected(folder / "rejected.csv", written.rejected)
    if not table:
        damage = [one for one in written.rejected if not one.left_out] or written.rejected
        reasons = f"; the first of {len(damage)} reasons: {damage[0]}" if damage else ""
        raise UserError(f"no recording can be used{reasons}")
    written.index = _index(table)
    written.index.to_parquet(folder / "index.parquet", index=False)
    pd.DataFrame(sources).to_parquet(folder / "sources.parquet", index=False)
    return written


def _index(table: list[dict[str, Any]]) -> pd.DataFrame:
    splits = sorted({split for row in table for split in row["parts"]})
    index = pd.DataFrame(table, columns=list(COLUMNS))
    for split in splits:
        index[SPLIT_PREFIX + split] = [row["parts"].get(split, "") for row in table]
    return index


def _header(file: BinaryIO, rows: int, layout: JointLayout, dtype: str) -> int:
    """Write the header of joints.npy (NumPy pads it so that the first axis can grow)."""
    header = {"descr": dtype, "fortran_order": False, "shape": (rows, len(layout.joints), 3)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def from_chunks(
    chunks: list[Chunk], folder: Path, layout: JointLayout, dtype: str
) -> Iterator[tuple[Item, Entry]]:
    """Yield the items of chunks that have been read, in order."""
    for chunk in chunks:
        listed = json.loads(chunk.table(folder).read_text(encoding="utf-8"))
        size = chunk.rows(folder).stat().st_size
        flat = np.zeros(0, dtype=dtype)
        if size:
            flat = np.memmap(chunk.rows(folder), dtype=dtype, mode="r")
        rows = flat.reshape(-1, len(layout.joints), 3)
        at = 0
        for item, entry in zip(chunk.items, listed, strict=True):
            count = sum(row["bodies"] * row["frames"] for row in entry["sequences"])
            yield item, Entry(**entry, rows=rows[at : at + count])
            at += count


class OldEntries:
    """The items of a finished store; those whose files have not changed are taken over.

    Attributes:
        names: of all its items.
    """

    def __init__(self, store: Store) -> None:
        self._sources = pd.read_parquet(store.data / "sources.parquet").to_dict("records")
        self._table: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()}
            for row in store.index.to_dict("records")
        ]
        self._joints = np.load(store.data / "joints.npy", mmap_mode="r")
        self.names = [str(source["name"]) for source in self._sources]
        self._place: dict[str, tuple[int, int]] = {}  # fingerprint → source, its first sequence
        first = 0
        for place, source in enumerate(self._sources):
            if source["fingerprint"]:
                self._place[source["fingerprint"]] = (place, first)
            first += source["sequences"]

    def __contains__(self, item: Item) -> bool:
        return item.fingerprint in self._place

    def entry(self, item: Item) -> Entry:
        """Return the result of reading an item for the old store."""
        place, first = self._place[item.fingerprint]
        source = self._sources[place]
        table = self._table[first : first + source["sequences"]]
        sequences = []
        for row in table:
            parts = {
                name.removeprefix(SPLIT_PREFIX): value
                for name, value in row.items()
                if name.startswith(SPLIT_PREFIX) and value
            }
            sequences.append({name: row[name] for name in COLUMNS} | {"parts": parts})
        begin = table[0]["offset"] if table else 0
        count = sum(row["bodies"] * row["frames"] for row in table)
        return Entry(
            sequences,
            json.loads(source["rejected"]),
            json.loads(source["decisions"]),
            self._joints[begin : begin + count],
        )
