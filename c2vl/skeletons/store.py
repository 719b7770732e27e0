"""The prepared store: all sequences of a dataset as one memory-mapped array and a table.

A store is a folder::

    manifest.json   what it is: dataset, source, layout, class names, counts, settings, checksum
    index.parquet   one row a sequence (COLUMNS)
    joints.npy      float32 (rows, V, 3), metres; a sequence is ``bodies * frames`` rows from offset
    rejected.csv    files that could not be used, with the reason (present when there are some)
    cache/          preprocessed clips (:mod:`c2vl.skeletons.clips`)
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from c2vl.errors import UserError
from c2vl.skeletons.layout import JointLayout

FORMAT = 1
COLUMNS = (
    *("id", "label", "subject", "camera", "setup", "replication"),
    *("frames", "bodies", "offset", "source"),
)
_REMEDY = "make it again with `c2vl data prepare NAME SOURCE OUT --overwrite`"


class Store:
    """A prepared store, open for reading.

    Attributes:
        path: its folder.
        manifest: ``manifest.json``.
        index: one row a sequence; ``attrs["reader"]`` names the dataset's reader.
        layout: the joints' layout.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], index: pd.DataFrame, rows: NDArray[np.float32]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.index = index
        self.layout = JointLayout.from_dict(manifest["layout"])
        self._rows = rows
        self._shapes = index[["offset", "bodies", "frames"]].to_numpy(dtype=np.int64)

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a store; nothing but its manifest and table is read.

        Raises:
            UserError: it is missing, unfinished, truncated, or of another version.
        """
        path = Path(path)
        manifest = read_manifest(path)
        try:
            index = pd.read_parquet(path / "index.parquet")
            rows: NDArray[np.float32] = np.load(path / "joints.npy", mmap_mode="r")
        except FileNotFoundError as error:
            raise UserError(f"{error.filename}: missing from the store; {_REMEDY}") from None
        except Exception as error:  # pyarrow and numpy raise many kinds on damaged files
            raise UserError(f"{path}: the store is damaged ({error}); {_REMEDY}") from None
        index.attrs["reader"] = manifest["reader"]
        store = cls(path, manifest, index, rows)
        expected = (manifest["counts"]["rows"], len(store.layout.joints), 3)
        if rows.shape != expected or rows.dtype != np.float32:
            raise UserError(f"{path}/joints.npy: {rows.shape}, expected {expected}; {_REMEDY}")
        if len(index) != manifest["counts"]["sequences"] or list(index.columns) != list(COLUMNS):
            raise UserError(f"{path}/index.parquet: not the manifest's table; {_REMEDY}")
        return store

    def __len__(self) -> int:
        return len(self.index)

    def joints(self, position: int) -> NDArray[np.float32]:
        """Return a read-only view (M, T, V, 3) of one sequence, metres."""
        offset, bodies, frames = self._shapes[position]
        flat = self._rows[offset : offset + bodies * frames]
        return flat.reshape(bodies, frames, *flat.shape[1:])

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
        """Bodies of the sequence that has most of them."""
        return int(self.index["bodies"].max())

    def verify(self) -> None:
        """Read everything and compare it with the recorded checksum.

        Raises:
            UserError: the content is not what was prepared.
        """
        found = checksum(self.path / "joints.npy", self.index, self.manifest)
        if found != self.digest:
            raise UserError(f"{self.path}: the content does not fit its checksum; {_REMEDY}")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a store's manifest.

    Raises:
        UserError: there is none, it is not one, or it is of another version.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path}: no prepared store here; make one with `c2vl data prepare` or `c2vl data demo`"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}/manifest.json: cannot be read ({error}); {_REMEDY}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise UserError(
            f"{path}/manifest.json: store format {found}, this version reads {FORMAT}; {_REMEDY}"
        )
    missing = {"reader", "layout", "class_names", "counts", "checksum"} - manifest.keys()
    if missing:
        raise UserError(f"{path}/manifest.json: {min(missing)} is missing; {_REMEDY}")
    return manifest


def checksum(joints: Path, index: pd.DataFrame, manifest: dict[str, Any]) -> str:
    """Return SHA-256 of joints, table, layout and class names; where they lie does not matter."""
    with joints.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(index[list(COLUMNS)].to_csv(index=False, lineterminator="\n").encode())
    names = {"layout": manifest["layout"], "class_names": list(manifest["class_names"])}
    digest.update(json.dumps(names, sort_keys=True).encode())
    return digest.hexdigest()
