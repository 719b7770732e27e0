"""Any sensor's recordings: a folder of arrays, a table that names them, and a joint layout.

``sequences.csv`` has a row a sequence: ``id`` and ``label`` (numbers from 0, or class names), and
may have ``file`` (else ``ID.npy`` or ``ID.npz``), ``subject``, ``camera``, ``setup``,
``replication`` (whole numbers; empty when unknown) and ``split_NAME`` columns of ``train`` and
``test`` (empty: in neither). ``layout.yaml`` says what the joints are
(:func:`c2vl.skeletons.layout.read_layout`). Each file holds one array in metres, (T, V, 3) or
(M, T, V, 3), zero where a body is absent; an ``.npz`` holds one array, or the one named ``joints``.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader
from c2vl.skeletons.formats.npy import ArrayFile, members
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import JointLayout, read_layout
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence, checked, trimmed
from c2vl.support.errors import UserError, did_you_mean

_TABLE, _LAYOUT = "sequences.csv", "layout.yaml"
_REMEDIES = {
    _TABLE: "; it has a row a sequence, with the columns id and label at least",
    _LAYOUT: "; one to start from: c2vl data layouts ntu25 --out layout.yaml",
}
_NUMBERS = ("subject", "camera", "setup", "replication")
_COLUMNS = ("id", "label", "file", *_NUMBERS)
_SPLIT = re.compile(r"split_([A-Za-z0-9_.-]{1,40})")
_MOST_TABLE = 256 << 20
_MOST_LAYOUT = 1 << 20
_MOST_ARRAY = 256 << 20
_MOST_BODIES = 16
_MOST_CLASSES = 10_000
_LONGEST_ID = 300


def discover(source: Path, options: Options) -> Found:
    """Read the table and the layout, and find each row's file."""
    files = list_files(source)
    table = _the(_TABLE, files, source)
    layout = _layout(_the(_LAYOUT, files, source))
    rows, splits = _rows(table)
    arrays = _Arrays(table.folder, files)
    rejected: list[Rejected] = []
    items = []
    classes = _classes(table, rows)
    for line, row in rows:
        try:
            facts = _facts(row, splits, classes)
            file = arrays.find(row)
        except RejectedError as error:
            rejected.append(Rejected(table.name, error.reason, line))
            continue
        facts["joints"] = len(layout.joints)
        items.append(Item(file, facts=facts))
    unnamed = [file for file in arrays.files.values() if file.name not in arrays.taken]
    rejected += [Rejected(file.name, f"no row of {_TABLE} names it") for file in unnamed]
    if not items and not rejected:
        raise UserError(f"{table.name}: there is no row in it")
    return Found(
        items, layout, tuple(classes), splits[0] if splits else "", rejected=tuple(rejected)
    )


def _the(name: str, files: list[RawFile], source: Path) -> RawFile:
    found = [file for file in files if file.base == name]
    if not found:
        raise UserError(f"{source}: there is no {name} in it{_REMEDIES[name]}")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UserError(f"{source}: holds {names}; give the folder of one of them as SOURCE")
    return found[0]


def _layout(file: RawFile) -> JointLayout:
    if file.member is None:
        return read_layout(file.path)
    try:
        content = file.read(_MOST_LAYOUT)
    except OSError as error:
        raise UserError(f"{file.name}: cannot be read: {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, _LAYOUT)
        copy.write_bytes(content)
        try:
            return read_layout(copy)
        except UserError as error:
            raise UserError(str(error).replace(str(copy), file.name)) from None


def _rows(table: RawFile) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return the rows with their lines, and the names of the splits."""
    try:
        text = table.read(_MOST_TABLE).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{table.name}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{table.name}, line {line}: not UTF-8 text") from None
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
            hint = did_you_mean(name, [*_COLUMNS, "split_NAME"])
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


def _facts(row: dict[str, str], splits: list[str], classes: dict[str, int]) -> dict[str, Any]:
    name, word = row["id"], row["label"]
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_ID:
        raise RejectedError("id is empty, too long or not printable")
    label = classes.get(word, classes.get(f"class {int(word)}") if _is_count(word) else None)
    if label is None:
        raise RejectedError(f'label "{word[:40]}" is no class: a name, or a number from 0 to 9999')
    facts: dict[str, Any] = {"id": name, "label": label}
    for column in _NUMBERS:
        value = row.get(column, "")
        if value and not _is_count(value):
            raise RejectedError(f'{column} "{value[:40]}" is no whole number from 0')
        facts[column] = int(value) if value else -1
    parts = {split: row[f"split_{split}"] for split in splits if row[f"split_{split}"]}
    for split, part in parts.items():
        if part not in ("train", "test"):
            raise RejectedError(f'split_{split} "{part[:40]}" is neither train nor test')
    facts["parts"] = parts
    return facts


def _is_count(word: str) -> bool:
    return re.fullmatch(r"\d{1,9}", word, re.ASCII) is not None


class _Arrays:
    """The array files beside and below the table.

    Attributes:
        files: by path from the table's folder.
        taken: names of those that a row has.
    """

    def __init__(self, folder: str, files: list[RawFile]) -> None:
        start = f"{folder}/" if folder else ""
        self.files = {
            file.name.removeprefix(start): file
            for file in files
            if file.base.endswith((".npy", ".npz")) and file.name.startswith(start)
        }
        self.by_stem: dict[str, list[str]] = {}
        for path in self.files:
            self.by_stem.setdefault(PurePosixPath(path).stem, []).append(path)
        self.taken: set[str] = set()

    def find(self, row: dict[str, str]) -> RawFile:
        """Return the file of a row.

        Raises:
            RejectedError: there is none, it is not sure which, or it is another row's.
        """
        word = row.get("file", "")
        path = word.replace("\\", "/").removeprefix("./")
        if not word:
            found = self.by_stem.get(row["id"], [])
            if len(found) != 1:
                what = f"are {', '.join(found[:4])}" if found else f"is no {row['id']}.npy or .npz"
                raise RejectedError(f"there {what[:200]}")
            path = found[0]
        elif path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path):
            raise RejectedError(f'file "{word[:80]}" leaves the folder')
        if path not in self.files:
            raise RejectedError(f'there is no file "{word[:80]}" (.npy or .npz)')
        file = self.files[path]
        if file.name in self.taken:
            raise RejectedError(f"{file.base} is the file of an earlier row")
        self.taken.add(file.name)
        return file


def read(item: Item) -> Iterator[Sequence]:
    """Read one file: (M, T, V, 3), without bodies and frames that are all zero.

    Raises:
        RejectedError: it is no such array.
        OSError: it cannot be read.
    """
    array = ArrayFile(item.file, _inner(item.file) if item.file.base.endswith(".npz") else None)
    joints = array.read(_MOST_ARRAY)
    if joints.dtype.kind not in "fiu":
        raise RejectedError(f"the array holds {joints.dtype}, no coordinates")
    if joints.ndim == 3:
        joints = joints[None]
    facts = dict(item.facts)
    wanted = facts.pop("joints")
    if joints.ndim != 4 or joints.shape[3] != 3 or joints.shape[0] > _MOST_BODIES:
        raise RejectedError(
            f"the array is {joints.shape}, expected (frames, joints, 3) or at most {_MOST_BODIES} "
            "bodies of that"
        )
    if joints.shape[2] != wanted:
        raise RejectedError(f"{joints.shape[2]} joints, but {_LAYOUT} has {wanted}")
    shown, decisions = trimmed(checked(joints))
    yield Sequence(joints=shown, source=item.name, decisions=decisions, **facts)


def _inner(file: RawFile) -> str:
    arrays = members(file)
    if "joints.npy" in arrays:
        return "joints.npy"
    if len(arrays) != 1:
        raise RejectedError(f'{len(arrays)} arrays in it, and none is named "joints"')
    return arrays[0]


FOLDER = Reader("recordings of your own", discover, read)
