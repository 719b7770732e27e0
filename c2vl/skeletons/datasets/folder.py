"""Any sensor's recordings: a folder of arrays, a table that names them, and a joint layout.

``sequences.csv`` has a row a sequence: ``id`` and ``label`` (numbers from 0, or class names), and
may have ``file`` (else ``ID.npy`` or ``ID.npz``), ``subject``, ``camera``, ``setup``,
``replication`` (whole numbers; empty when unknown) and ``split_NAME`` columns of ``train`` and
``test`` (empty: in neither). ``layout.yaml`` says what the joints are
(:func:`c2vl.skeletons.layout_files.read_layout`). Each file holds one array in metres, (T, V, 3) or
(M, T, V, 3), zero where a body is absent; an ``.npz`` holds one array, or the one named ``joints``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, whole_item
from c2vl.skeletons.datasets.folder_table import Table
from c2vl.skeletons.formats.npy import ArrayFile, members
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.layout_files import LARGEST, layout_of_values
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from c2vl.support.yaml_files import parse_yaml

_TABLE, _LAYOUT = "sequences.csv", "layout.yaml"
_REMEDIES = {
    _TABLE: "; it has a row a sequence, with the columns id and label at least",
    _LAYOUT: "; one to start from: c2vl data layouts ntu25 --out layout.yaml",
}
_MOST_ARRAY = 256 << 20
_MOST_BODIES = 16


def discover(source: Path, options: Options) -> Found:
    """Read the table and the layout, and find each row's file."""
    files = list_files(source)
    file = _only(_TABLE, files, source)
    layout = _layout(_only(_LAYOUT, files, source))
    table = Table(file)
    arrays = _Arrays(file.folder, files)
    rejected: list[Rejected] = []
    items = []
    for line, row in table.rows:
        try:
            facts = table.facts(row) | {"joints": len(layout.joints)}
            items.append(Item(arrays.find(row), facts=facts))
        except RejectedError as error:
            rejected.append(Rejected(file.name, error.reason, line))
    unnamed = [file for file in arrays.files.values() if file.name not in arrays.taken]
    rejected += [Rejected(file.name, f"no row of {_TABLE} names it") for file in unnamed]
    if not items and not rejected:
        raise UserError(f"{file.name}: there is no row in it")
    split = table.splits[0] if table.splits else ""
    return Found(items, layout, tuple(table.classes), split, rejected=tuple(rejected))


def _only(name: str, files: list[RawFile], source: Path) -> RawFile:
    found = [file for file in files if file.base == name]
    if not found:
        raise UserError(f"{source}: there is no {name} in it{_REMEDIES[name]}")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UserError(f"{source}: holds {names}; give the folder of one of them as SOURCE")
    return found[0]


def _layout(file: RawFile) -> JointLayout:
    name = file.name if file.member else str(file.path)
    try:
        return layout_of_values(parse_yaml(file.read(LARGEST).decode("utf-8-sig")), name)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read as YAML: {error}") from None


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
        """Return the file of a row."""
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
    """Read one file: (M, T, V, 3), without bodies and frames that are all zero."""
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
    yield whole_item(item, joints, **facts)


def _inner(file: RawFile) -> str:
    arrays = members(file)
    if "joints.npy" in arrays:
        return "joints.npy"
    if len(arrays) != 1:
        raise RejectedError(f'{len(arrays)} arrays in it, and none is named "joints"')
    return arrays[0]


FOLDER = Reader("recordings of your own", discover, read)
