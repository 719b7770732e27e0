"""Reads captions from the published archive, or a user's JSON, CSV or Parquet.

=============  ======================================================================
``.zip``       an archive with one ``.json`` in it (``pkuv2_language.zip``)
``.json``      ``{"sequence": ["caption", …], …}``, captions in order of time
``.csv``       columns ``id`` and ``text``, one row a caption; ``prompt`` (0, 1, …) orders them
``.parquet``   the same columns
folder         ``texts/ID.txt`` of HumanML3D or KIT-ML (also in a ``.zip``)
=============  ======================================================================
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from c2vl.skeletons.formats.motion_captions import is_caption_file, name_of, read_captions
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError, first_line, not_by_commas, not_utf8
from c2vl.support.files import require_itself

Short = Literal["reject", "repeat"]
_MAX_JSON = 2 << 30  # bytes, unpacked: a small archive must not fill the memory


@dataclass(frozen=True)
class Captions:
    """Captions by sequence, each with the same number of them.

    Attributes:
        texts: sequence → P captions.
        rejected: (sequence, reason) of those left out.
        filled: sequences that repeat some of their captions in place of missing ones.
    """

    texts: dict[str, list[str]]
    rejected: list[tuple[str, str]]
    filled: int


def read(path: Path) -> dict[str, list[str]]:
    """Read a file of captions; missing ones are empty.

    Raises:
        UserError: it is absent, of another kind, or not in one of the formats above.
    """
    kind = path.suffix.lower()
    try:
        if texts := texts_of(path):
            return _from_texts(texts)
        require_itself(path)
        if kind == ".zip":
            return _from_json(path, _unpacked(path))
        if kind == ".json":
            return _from_json(path, path.read_bytes())
        if kind == ".csv":
            return _from_table(path, _csv(path))
        if kind in (".parquet", ".pq"):
            return _from_table(path, pd.read_parquet(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path}{not_utf8(error)}") from None
    except Exception as error:  # the readers raise many kinds on damaged files
        said = first_line(error)
        raise UserError(f"{path}: cannot be read as {kind[1:]} ({said})") from None
    raise UserError(
        f"{path}: captions are read from .zip, .json, .csv and .parquet files, and from a folder "
        "with texts/ID.txt in it"
    )


def texts_of(path: Path) -> list[RawFile]:
    """Return the files ``texts/ID.txt`` of a folder or an archive; none where it has none."""
    if not path.is_dir() and not (path.is_file() and zipfile.is_zipfile(path)):
        return []
    listed = [replace(file, name=f"{path.name}/{file.name}") for file in list_files(path)]
    return [file for file in listed if is_caption_file(file)]


def _from_texts(files: list[RawFile]) -> dict[str, list[str]]:
    """Return the captions of each span of each motion, under the ids that its reader gives."""
    found = {}
    for file in files:
        try:
            spans = read_captions(file)
        except RejectedError as error:
            where = f", line {error.line}" if error.line else ""
            raise UserError(f"{file.name}{where}: {error.reason}") from None
        for span, texts in spans.items():
            found[name_of(file.base.removesuffix(".txt"), span)] = texts
    return found


def even(
    found: dict[str, list[str]], *, prompts: int | None = None, short: Short = "reject"
) -> Captions:
    """Give every sequence the same number of captions.

    Args:
        found: sequence → captions; empty ones count as missing.
        prompts: P; the most frequent number of captions when not given.
        short: what to do with a sequence that has fewer: leave it out, or repeat its captions in
            order, so that their mean stays nearly the same. One with more is left out.

    Raises:
        UserError: no sequence is left.
    """
    if prompts is None:
        numbers = Counter(len(row) for row in found.values())
        prompts = max(numbers, key=lambda n: (numbers[n], n)) if numbers else 0
    texts: dict[str, list[str]] = {}
    rejected: list[tuple[str, str]] = []
    filled = 0
    for name, row in found.items():
        usable = [text.strip() for text in row if text.strip()]
        empty = len(row) - len(usable)
        why = f"{len(usable)} of {prompts} captions" + (f" ({empty} empty)" if empty else "")
        if not name:
            rejected.append((name, "no id"))
        elif len(row) > prompts:
            rejected.append((name, f"{len(row)} captions, expected {prompts}"))
        elif len(usable) == prompts:
            texts[name] = usable
        elif usable and short == "repeat":
            texts[name] = [usable[i * len(usable) // prompts] for i in range(prompts)]
            filled += 1
        else:
            rejected.append((name, why if usable else "no caption"))
    if not texts:
        first = f"; the first is {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise UserError(f"no sequence has {prompts or 'any'} captions{first}")
    return Captions(texts, rejected, filled)


def _unpacked(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        inside = [info for info in archive.infolist() if info.filename.lower().endswith(".json")]
        if len(inside) != 1:
            raise UserError(f"{path}: holds {len(inside)} .json files, expected one")
        if inside[0].file_size > _MAX_JSON:
            raise UserError(f"{path}: {inside[0].filename} is larger than {_MAX_JSON} bytes")
        return archive.read(inside[0])


def _from_json(path: Path, data: bytes) -> dict[str, list[str]]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [name for name, number in Counter(name for name, _ in items).items() if number > 1]
        if twice:
            raise UserError(f"{path}: {twice[0]} occurs twice")
        return dict(items)

    values = json.loads(data, object_pairs_hook=pairs)
    if not isinstance(values, dict):
        raise UserError(f'{path}: expected {{"sequence": ["caption", …]}}')
    for name, row in values.items():
        if isinstance(row, str):
            values[name] = [row]
        elif not isinstance(row, list) or not all(isinstance(t, str | None) for t in row):
            raise UserError(f"{path}: {name}: expected a list of captions")
        else:
            values[name] = [text or "" for text in row]
    return values


def _csv(path: Path) -> pd.DataFrame:
    text = path.read_bytes().decode("utf-8-sig")
    header = text.partition("\n")[0].strip()
    if hint := not_by_commas(header.split(",")):
        raise UserError(f'{path}, line 1: "{header[:40]}" is one column{hint}')
    return pd.read_csv(io.StringIO(text), dtype={"id": str, "text": str})


def _from_table(path: Path, table: pd.DataFrame) -> dict[str, list[str]]:
    lacking = {"id", "text"} - set(table.columns)
    if lacking:
        raise UserError(
            f"{path}: no column {' and '.join(sorted(lacking))}; it needs id and text, one row a "
            f"caption, and may have prompt (it has {', '.join(map(str, table.columns))})"
        )
    table = table.assign(id=table["id"].fillna("").astype(str), text=table["text"].fillna(""))
    if not table["text"].map(lambda text: isinstance(text, str)).all():
        raise UserError(f"{path}: the column text holds something else than text")
    if "prompt" in table.columns:
        numbers = pd.to_numeric(table["prompt"], errors="coerce")
        if numbers.isna().any() or (numbers < 0).any() or (numbers % 1 != 0).any():
            raise UserError(f"{path}: the column prompt must hold whole numbers from 0")
        table = table.assign(prompt=numbers)
        twice = table.duplicated(["id", "prompt"])
        if twice.any():
            row = table[twice].iloc[0]
            raise UserError(f"{path}: {row['id']}: prompt {int(row['prompt'])} occurs twice")
        table = table.sort_values("prompt", kind="stable")
    return {str(name): list(rows) for name, rows in table.groupby("id", sort=False)["text"]}
