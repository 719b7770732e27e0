"""Any sensor's recordings: a folder of arrays, a table that names them, and a joint layout.

``sequences.csv`` has a row a sequence: ``id`` and ``label`` (numbers from 0, or class names), and
may have ``file`` (else ``ID.npy`` or ``ID.npz``), ``subject``, ``camera``, ``setup``,
``replication`` (whole numbers; empty when unknown) and ``split_NAME`` columns of ``train`` and
``test`` (empty: in neither). ``layout.yaml`` says what the joints are
(:func:`c2vl.skeletons.layout_files.read_layout`). Each file holds one array in metres, (T, V, 3) or
(M, T, V, 3), zero where a body is absent; an ``.npz`` holds one array, or the one named ``joints``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, whole_item
from c2vl.skeletons.datasets.folder_table import TABLE, Table, only
from c2vl.skeletons.formats.npy import ArrayFile, members
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.layout_files import LARGEST, layout_of_values
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from c2vl.support.yaml_files import parse_yaml

_LAYOUT = "layout.yaml"
_REMEDIES = {
    TABLE: "; it has a row a sequence, with the columns id and label at least",
    _LAYOUT: "; one to start from: c2vl data layouts ntu25 --out layout.yaml",
}
_MOST_ARRAY = 256 << 20
_MOST_BODIES = 16


def discover(source: Path, options: Options) -> Found:
    """Read the table and the layout, and find each row's file."""
    files = list_files(source)
    file = only(TABLE, files, source, _REMEDIES[TABLE])
    layout = _layout(only(_LAYOUT, files, source, _REMEDIES[_LAYOUT]))
    table = Table(file)
    items, rejected = table.items(files, (".npy", ".npz"), {"joints": len(layout.joints)})
    if not items and not rejected:
        raise UserError(f"{file.name}: there is no row in it")
    split = table.splits[0] if table.splits else ""
    return Found(items, layout, tuple(table.classes), split, rejected=tuple(rejected))


def _layout(file: RawFile) -> JointLayout:
    name = file.name if file.member else str(file.path)
    try:
        return layout_of_values(parse_yaml(file.read(LARGEST).decode("utf-8-sig")), name)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read as YAML: {error}") from None


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
