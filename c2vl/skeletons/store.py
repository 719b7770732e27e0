"""The prepared store: all sequences of a dataset as one memory-mapped array and a table.

A store is a folder::

    manifest.json        what it is: dataset, source, layout, class names, counts, checksum
    data-<checksum>/     named by the manifest, so that replacing the manifest replaces everything
        joints.npy       float32 or float16 (rows, V, 3), metres; a sequence is ``bodies * frames``
                         rows from its offset, whole bodies one after the other
        index.parquet    one row a sequence (COLUMNS, then ``split_NAME`` for given splits)
        sources.parquet  one row a raw file: fingerprint, sequences, what was decided
        rejected.csv     what did not become a sequence, with file, line and reason
    cache/               what is computed from it (:mod:`c2vl.skeletons.cache`)

It may lie at a URL as well, and is read from a copy in this machine's cache then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.sequence import rows_checksum
from c2vl.skeletons.staging import MANIFEST, Kind, staged
from c2vl.support.errors import UserError
from c2vl.support.files import parse_json
from c2vl.support.remote import Location, RemoteFolder, absolute, parse_location

if TYPE_CHECKING:  # half a second of imports, which mistakes need not wait for
    import pandas as pd

FORMAT = 2
# fmt: off
COLUMNS = (
    "id", "label", "subject", "camera", "setup", "replication", "start", "end", "frames", "bodies",
    "offset", "source", "checksum",
)
# fmt: on
SPLIT_PREFIX = "split_"
_REMEDY = "make it again with `c2vl data prepare NAME SOURCE OUT --overwrite`"


class Store:
    """A prepared store, open for reading.

    Attributes:
        path: its folder; of a store at a URL the copy in this machine's cache.
        location: where any machine finds it: the folder, absolute, or the URL.
        manifest: ``manifest.json``.
        index: one row a sequence; ``attrs["reader"]`` names the dataset's reader.
        layout: the joints' layout.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], index: pd.DataFrame, rows: NDArray[np.floating]
    ) -> None:
        self.path = path
        self.location: Location = absolute(path)
        self.manifest = manifest
        self.index = index
        self.layout = JointLayout.from_dict(manifest["layout"])
        self._rows = rows
        self._shapes = index[["offset", "bodies", "frames"]].to_numpy(dtype=np.int64)

    @classmethod
    def open(cls, location: Location) -> Store:
        """Open a store; this reads only its manifest and table.

        Raises:
            UserError: it is missing, unfinished, truncated, or of another version.
        """
        location = parse_location(location)
        if isinstance(location, str):
            try:
                store = cls.open(staged(location, KIND))
            except FileNotFoundError:
                raise _absent(location) from None
            store.location = location
            return store
        path = location
        manifest = read_manifest(path)
        data = path / manifest["data"]
        import pandas as pd

        with _sound(path):
            index = pd.read_parquet(data / "index.parquet")
            rows: NDArray[np.floating] = np.load(data / "joints.npy", mmap_mode="r")
        index.attrs["reader"] = manifest["reader"]
        store = cls(path, manifest, index, rows)
        expected = (manifest["counts"]["rows"], len(store.layout.joints), 3)
        if rows.shape != expected or rows.dtype not in (np.float32, np.float16):
            raise UserError(f"{data}/joints.npy: {rows.shape}, expected {expected}; {_REMEDY}")
        given = list(index.columns)
        if len(index) != manifest["counts"]["sequences"] or given[: len(COLUMNS)] != list(COLUMNS):
            raise UserError(f"{data}/index.parquet: not the manifest's table; {_REMEDY}")
        return store

    def __len__(self) -> int:
        return len(self.index)

    @property
    def data(self) -> Path:
        """The folder of the arrays and tables."""
        return self.path / str(self.manifest["data"])

    def joints(self, position: int) -> NDArray[np.float32]:
        """Return (M, T, V, 3) of one sequence, metres: a read-only view, or float16 converted."""
        offset, bodies, frames = self._shapes[position]
        flat = self._rows[offset : offset + bodies * frames]
        shaped = flat.reshape(bodies, frames, *flat.shape[1:])
        return shaped.astype(np.float32, copy=False)

    @property
    def digest(self) -> str:
        """The checksum of the content, as recorded (see :meth:`verify`)."""
        return str(self.manifest["checksum"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        return tuple(self.manifest["class_names"])

    @cached_property
    def max_bodies(self) -> int:
        """The largest number of bodies in one sequence."""
        return int(self.index["bodies"].max())

    def damaged(self) -> list[str]:
        """Read everything and return the ids of the sequences that are not what was prepared."""
        bad = []
        for position, (name, expected) in enumerate(
            zip(self.index["id"], self.index["checksum"], strict=True)
        ):
            offset, bodies, frames = self._shapes[position]
            if rows_checksum(self._rows[offset : offset + bodies * frames]) != expected:
                bad.append(str(name))
        return bad

    def verify(self) -> None:
        """Read everything and compare it with the recorded checksums.

        Raises:
            UserError: the content is not what was prepared; names the sequences.
        """
        if content_checksum(self.index, self.manifest) != self.digest:
            raise UserError(f"{self.path}: the table does not fit its checksum; {_REMEDY}")
        bad = self.damaged()
        if bad:
            listed = ", ".join(bad[:5]) + (" …" if len(bad) > 5 else "")
            raise UserError(
                f"{self.path}: {len(bad)} of {len(self)} sequences do not fit their checksum "
                f"({listed}); {_REMEDY}"
            )


class Columns(Mapping[str, NDArray[Any]]):
    """A store's index by column, without pandas, whose import takes half a second.

    Args:
        table: Arrow's; its conversions to NumPy and its ``read_table`` would import pandas.
        reader: the dataset's.

    Attributes:
        attrs: as those of :attr:`Store.index`.
    """

    def __init__(self, table: Any, reader: str) -> None:
        self._table, self.attrs = table, {"reader": reader}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.array(self._table[name].to_pylist())

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_columns)


def read_columns(path: Path) -> Columns:
    """Read a store's index alone: enough to cut its splits.

    Raises:
        UserError: as :meth:`Store.open` does, where it concerns this.
    """
    manifest = read_manifest(path)
    from pyarrow import parquet

    with _sound(path), (path / manifest["data"] / "index.parquet").open("rb") as file:
        table = parquet.ParquetFile(file).read()
    return Columns(table, manifest["reader"])


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Convert what readers raise on the files of a damaged store."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: missing from the store; {_REMEDY}") from None
    except Exception as error:  # pyarrow and numpy raise many kinds on damaged files
        raise UserError(f"{path}: the store is damaged ({error}); {_REMEDY}") from None


def read_manifest(path: Location) -> dict[str, Any]:
    """Read a store's manifest.

    Raises:
        UserError: there is none, it is not one, or it is of another version.
    """
    try:
        if isinstance(path, str):
            text = RemoteFolder(path).read(MANIFEST)
        else:
            text = (path / MANIFEST).read_bytes()
        manifest = parse_json(text)
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(path) from None
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"{path}/manifest.json: cannot be read ({error}); {_REMEDY}") from None
    if isinstance(manifest, dict) and "modality" in manifest:
        raise UserError(
            f"{path}: holds a concept table, and a store of sequences is asked for; `c2vl data "
            "prepare` makes one"
        )
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise UserError(
            f"{path}/manifest.json: store format {found}, this version reads {FORMAT}; {_REMEDY}"
        )
    missing = {"reader", "layout", "class_names", "counts", "checksum", "data"} - manifest.keys()
    if missing:
        raise UserError(f"{path}/manifest.json: {min(missing)} is missing; {_REMEDY}")
    data = manifest["data"]
    if not isinstance(data, str) or not data.startswith("data-") or Path(data).name != data:
        raise UserError(f"{path}/manifest.json: data is {data!r}, no folder of a store; {_REMEDY}")
    return manifest


def _absent(path: Location) -> UserError:
    return UserError(
        f"{path}: no prepared store here; make one with `c2vl data prepare` or `c2vl data demo`"
    )


def content_checksum(index: pd.DataFrame, manifest: dict[str, Any]) -> str:
    """Return SHA-256 of table (with every sequence's checksum), layout and class names.

    It ignores where the raw files were: the same dataset from a folder and from an archive has
    the same checksum.
    """
    table = index.drop(columns=["source"]).to_csv(index=False, lineterminator="\n")
    digest = hashlib.sha256(table.encode())
    names = {"layout": manifest["layout"], "class_names": list(manifest["class_names"])}
    digest.update(json.dumps(names, sort_keys=True).encode())
    return digest.hexdigest()


KIND = Kind(
    "store",
    files=lambda manifest: (f"{manifest['data']}/*",),
    owned=(MANIFEST, "data-*/*"),
    verify=lambda folder: Store.open(folder).verify(),
)
