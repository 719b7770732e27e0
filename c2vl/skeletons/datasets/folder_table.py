"""Reads ``sequences.csv`` of a folder of recordings: a row a sequence."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from c2vl.skeletons.datasets.base import Item
from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.support.errors import UserError, did_you_mean, not_by_commas, not_utf8

TABLE = "sequences.csv"
_NUMBERS = ("subject", "camera", "setup", "replication")
_COLUMNS = ("id", "label", "file", *_NUMBERS)
_SPLIT = re.compile(r"split_([A-Za-z0-9_.-]{1,40})")
_MOST_BYTES = 256 << 20
_MOST_CLASSES = 10_000
LONGEST_ID = 300


class Table:
    """The rows of ``sequences.csv``.

    Attributes:
        rows: the line of each row, and its words by column.
        splits: names of the splits that it gives.
        classes: class name → label, in the order of the labels.

    Raises:
        UserError: it cannot be read, or its columns or labels do not fit together.
    """

    def __init__(self, file: RawFile) -> None:
        self.file = file
        self.rows, self.splits = _rows(file)
        self.classes = _classes(file, self.rows)

    def items(
        self, files: list[RawFile], suffixes: tuple[str, ...], more: Mapping[str, Any]
    ) -> tuple[list[Item], list[Rejected]]:
        """Return an item for each row, and the rows and files that have no match.

        Args:
            files: all of the source; those beside and below the table are looked at.
            suffixes: of a recording's file, in small letters.
            more: facts of every item.
        """
        recordings = _Recordings(self.file.folder, files, suffixes)
        items, rejected = [], []
        for line, row in self.rows:
            try:
                facts = self.facts(row) | dict(more)
                items.append(Item(recordings.find(row), facts=facts))
            except RejectedError as error:
                rejected.append(Rejected(self.file.name, error.reason, line))
        unnamed = [file for file in recordings.files.values() if file.name not in recordings.taken]
        rejected += [Rejected(file.name, f"no row of {TABLE} names it") for file in unnamed]
        return items, rejected

    def facts(self, row: dict[str, str]) -> dict[str, Any]:
        """Return what a row says of its sequence, by the names of :class:`.Sequence`."""
        name, word = row["id"], row["label"]
        if not name.isprintable() or not 0 < len(name) <= LONGEST_ID:
            raise RejectedError("id is empty, too long or not printable")
        label = self.classes.get(
            word, self.classes.get(f"class {int(word)}") if _is_count(word) else None
        )
        if not word:
            raise RejectedError("no label: give the recording's class in the column label")
        if label is None:
            raise RejectedError(
                f'label "{word[:40]}" is no class: a name, or a number from 0 to 9999'
            )
        facts: dict[str, Any] = {"id": name, "label": label}
        for column in _NUMBERS:
            value = row.get(column, "")
            if value and not _is_count(value):
                raise RejectedError(f'{column} "{value[:40]}" is no whole number from 0')
            facts[column] = int(value) if value else -1
        parts = {split: row[f"split_{split}"] for split in self.splits if row[f"split_{split}"]}
        for split, part in parts.items():
            if part not in ("train", "test"):
                raise RejectedError(f'split_{split} "{part[:40]}" is neither train nor test')
        facts["parts"] = parts
        return facts


def only(name: str, files: list[RawFile], source: Path, remedy: str = "") -> RawFile:
    """Return the one file of a name.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [file for file in files if file.base == name]
    if not found:
        raise UserError(f"{source}: there is no {name} in it{remedy}")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UserError(f"{source}: holds {names}; give the folder of one of them as SOURCE")
    return found[0]


class _Recordings:
    """The recordings beside and below the table.

    Attributes:
        files: by path from the table's folder.
        taken: names of those that a row has.
    """

    def __init__(self, folder: str, files: list[RawFile], suffixes: tuple[str, ...]) -> None:
        start = f"{folder}/" if folder else ""
        self.kinds = " or ".join(suffixes)
        self.files = {
            file.name.removeprefix(start): file
            for file in files
            if file.base.lower().endswith(suffixes) and file.name.startswith(start)
        }
        self.by_stem: dict[str, list[str]] = {}
        for path in self.files:
            self.by_stem.setdefault(PurePosixPath(path).stem, []).append(path)
        self.taken: set[str] = set()

    def find(self, row: dict[str, str]) -> RawFile:
        """Return the file of a row."""
        word = row.get("file", "")
        path = word.replace("\\", "/").removeprefix("./")
        if not word:
            found = self.by_stem.get(row["id"], [])
            if len(found) != 1:
                what = f"are {', '.join(found[:4])}" if found else f"is no {row['id']}{self.kinds}"
                raise RejectedError(f"there {what[:200]}")
            path = found[0]
        elif path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path):
            raise RejectedError(f'file "{word[:80]}" leaves the folder')
        if path not in self.files:
            raise RejectedError(f'there is no file "{word[:80]}" ({self.kinds})')
        file = self.files[path]
        if file.name in self.taken:
            raise RejectedError(f"{file.base} is the file of an earlier row")
        self.taken.add(file.name)
        return file


def _rows(table: RawFile) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return the rows with their lines, and the names of the splits."""
    try:
        text = table.read(_MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{table.name}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{table.name}{not_utf8(error)}") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        columns = [name.strip() for name in next(lines, [])]
        splits = _check_columns(table, columns)
        for fields in lines:
            if not fields:
                continue
            if len(fields) != len(columns):
                raise UserError(
                    f"{table.name}, line {lines.line_num}: {len(fields)} fields, but there are "
                    f"{len(columns)} columns"
                )
            words = (field.strip() for field in fields)
            rows.append((lines.line_num, dict(zip(columns, words, strict=True))))
    except csv.Error as error:
        raise UserError(f"{table.name}, line {lines.line_num}: {error}") from None
    return rows, splits


def _check_columns(table: RawFile, columns: list[str]) -> list[str]:
    where = f"{table.name}, line 1"
    splits = []
    for name in columns:
        match = _SPLIT.fullmatch(name)
        if match is not None:
            splits.append(match[1])
        elif name not in _COLUMNS:
            hint = not_by_commas(columns) or did_you_mean(name, [*_COLUMNS, "split_NAME"])
            raise UserError(f'{where}: column "{name[:40]}" is not known{hint}')
        if columns.count(name) > 1:
            raise UserError(f'{where}: column "{name}" is there twice')
    for name in ("id", "label"):
        if name not in columns:
            raise UserError(f'{where}: there is no column "{name}"')
    return splits


def _classes(table: RawFile, rows: list[tuple[int, dict[str, str]]]) -> dict[str, int]:
    """Return the class names in the order of their labels."""
    labels = [(line, row["label"]) for line, row in rows if row["label"]]
    numbers = [bool(re.fullmatch(r"[+-]?\d+", label, re.ASCII)) for _, label in labels]
    if any(numbers) and not all(numbers):
        line, label = labels[numbers.index(not numbers[0])]
        raise UserError(
            f'{table.name}, line {line}: label "{label[:40]}" is a '
            f"{'name' if numbers[0] else 'number'}, but those before are not"
        )
    if any(numbers):
        sound = [int(label) for _, label in labels if re.fullmatch(r"\d{1,4}", label, re.ASCII)]
        return {f"class {number}": number for number in range(max(sound, default=-1) + 1)}
    names = sorted({label for _, label in labels})[:_MOST_CLASSES]
    return {name: number for number, name in enumerate(names)}


def _is_count(word: str) -> bool:
    return re.fullmatch(r"\d{1,9}", word, re.ASCII) is not None
