"""Any sensor's recordings: a folder of arrays, a table that names them, and a joint layout.

``sequences.csv`` has a row a sequence: ``id`` and ``label`` (numbers from 0, or class names), and
may have ``file`` (else ``ID.npy`` or ``ID.npz``; also a .mat or a text of numbers), ``subject``,
``camera``, ``setup``, ``replication`` (whole numbers; empty when unknown) and ``split_NAME``
columns of ``train`` and ``test`` (empty: in neither). ``layout.yaml`` says what the joints are
(:func:`c2vl.skeletons.layout_files.read_layout`), and may say under ``recordings`` what the
``axes`` of the arrays are (:mod:`c2vl.skeletons.formats.plain_arrays`) and which ``variable`` of a
.npz or .mat is meant. Without that each file holds one array, (T, V, 3) or (M, T, V, 3), zero
where a body is absent; an ``.npz`` holds one array, or the one named ``joints``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, whole_item
from c2vl.skeletons.datasets.folder_table import TABLE, Table, only
from c2vl.skeletons.formats.plain_arrays import (
    ARRAYS,
    TEXTS,
    parse_axes,
    placed,
    read_numbers,
)
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.layout_files import LARGEST, RECORDINGS, layout_of_values
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError, not_utf8
from c2vl.support.yaml_files import parse_yaml

_LAYOUT = "layout.yaml"
_REMEDIES = {
    TABLE: "; it has a row a sequence, with the columns id and label at least",
    _LAYOUT: "; one to start from: c2vl data layouts ntu25 --out layout.yaml",
}
_SAID = ("axes", "variable")


def discover(source: Path, options: Options) -> Found:
    """Read the table and the layout, and find each row's file."""
    files = list_files(source)
    file = only(TABLE, files, source, _REMEDIES[TABLE])
    layout, facts = _layout(only(_LAYOUT, files, source, _REMEDIES[_LAYOUT]))
    table = Table(file)
    named = {PurePosixPath(row.get("file", "")).suffix.lower() for _, row in table.rows}
    suffixes = sorted({".npy", ".npz"} | named & {*ARRAYS, *TEXTS})
    items, rejected = table.items(files, tuple(suffixes), facts)
    rejected = [  # a text beside recordings is mostly a README
        replace(one, left_out=True)
        if one.line is None and one.file.lower().endswith(TEXTS)
        else one
        for one in rejected
    ]
    if not items and not rejected:
        raise UserError(f"{file.name}: there is no row in it")
    split = table.splits[0] if table.splits else ""
    return Found(items, layout, tuple(table.classes), split, rejected=tuple(rejected))


def _layout(file: RawFile) -> tuple[JointLayout, dict[str, Any]]:
    """Return the layout, and what each item has to know of it and of the arrays."""
    name = file.name if file.member else str(file.path)
    try:
        values = parse_yaml(file.read(LARGEST).decode("utf-8-sig"))
        layout = layout_of_values(values, name)
        recordings = values.get(RECORDINGS) or {}
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{name}{not_utf8(error)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read as YAML: {error}") from None
    facts: dict[str, Any] = {"joints": len(layout.joints)}
    if not isinstance(recordings, dict) or not all(key in _SAID for key in recordings):
        raise UserError(f"{name}: recordings: it may have {' and '.join(_SAID)}")
    if (axes := recordings.get("axes")) is not None:
        if not isinstance(axes, list) or not all(isinstance(word, str) for word in axes):
            raise UserError(f"{name}: recordings: axes: expected a list of words")
        try:
            facts["axes"] = parse_axes(axes)
        except UserError as error:
            raise UserError(f"{name}: recordings: {error}") from None
    if variable := recordings.get("variable"):
        facts["variable"] = str(variable)
    return layout, facts


def read(item: Item) -> Iterator[Sequence]:
    """Read one file: (M, T, V, 3), without bodies and frames that are all zero."""
    facts = dict(item.facts)
    joints, axes = facts.pop("joints"), facts.pop("axes", None)
    array = read_numbers(item.file, facts.pop("variable", ""))
    if axes is None:
        if array.ndim not in (3, 4) or array.shape[-1] != 3:
            raise RejectedError(
                f"the array is {array.shape}, expected (frames, joints, 3) or (bodies, frames, "
                f"joints, 3); say what its axes are under recordings in {_LAYOUT}"
            )
        if array.shape[-2] != joints:
            raise RejectedError(f"{array.shape[-2]} joints, but {_LAYOUT} has {joints}")
        axes = (("bodies",), ("frames",), ("joints",), ("xyz",))[4 - array.ndim :]
    yield whole_item(item, placed(array, axes, joints), **facts)


FOLDER = Reader("recordings of your own", discover, read)
