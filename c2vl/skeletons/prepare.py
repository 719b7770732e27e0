"""From a dataset's raw files to a prepared store, all or nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from c2vl.errors import UserError
from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.readers import Reader, RejectedError, get_reader
from c2vl.skeletons.sequence import Sequence
from c2vl.skeletons.store import COLUMNS, FORMAT, Store, checksum, read_manifest

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """What :func:`prepare` did.

    Attributes:
        store: the finished store.
        already: it was there, made from the same files, and was left alone.
        rejected: (file name, reason) of files that could not be used.
    """

    store: Store
    already: bool
    rejected: list[tuple[str, str]]


def prepare(
    name: str,
    source: Path,
    out: Path,
    *,
    max_rejected: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    origin: dict[str, Any] | None = None,
) -> Prepared:
    """Read a dataset into a store.

    The store is written beside ``out`` under a temporary name and renamed when it is complete; a
    failure leaves nothing, and an interrupted run at most a ``.tmp-`` folder.

    Args:
        name: the reader's name.
        source: the dataset's folder.
        out: the folder of the store.
        max_rejected: more unusable files than this are an error.
        overwrite: replace a different store at ``out``.
        progress: called with files done and files in all.
        origin: what the manifest says of the source instead of its path and files (a generator's
            settings).

    Raises:
        UserError: no such dataset or source, ``out`` is something else, or too many rejected files
            (they are then listed in ``OUT.rejected.csv``).
    """
    reader = get_reader(name)
    source, out = Path(source), Path(out)
    files = reader.discover(source)
    described = origin or {"path": str(source), "files": fingerprint(files)}
    found = existing(out, reader, described, overwrite=overwrite)
    if found is not None:
        return found
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".tmp-{out.name}-", dir=out.parent))
    try:
        folder.chmod(0o755)
        rejected = _write(folder, reader, files, described, progress)
        listing = out.with_name(out.name + ".rejected.csv")
        if len(rejected) > max_rejected:
            _write_rejected(listing, rejected)
            raise UserError(
                f"{len(rejected)} of {len(files)} files cannot be used, more than --max-rejected "
                f"{max_rejected}; the first: {rejected[0][0]}: {rejected[0][1]}. All are listed "
                f"in {listing}"
            )
        _replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    listing.unlink(missing_ok=True)
    return Prepared(Store.open(out), False, rejected)


def fingerprint(files: Iterable[Path]) -> str:
    """Return a digest of names, sizes and times of change: the files, without reading them."""
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def existing(
    out: Path, reader: Reader, origin: dict[str, Any], *, overwrite: bool = False
) -> Prepared | None:
    """Look at what is at ``out`` before anything is written.

    Returns:
        The finished store if it was made from this origin, None if a new one may be written
        (nothing is there, or ``overwrite``, which always writes anew).

    Raises:
        UserError: another store is there and ``overwrite`` is not set, or it is no store at all.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / "manifest.json").is_file():
        raise UserError(f"{out}: exists and is no prepared store; give another OUT")
    if overwrite:
        return None
    try:
        manifest = read_manifest(out)
        if (manifest["reader"], manifest["source"]["files"]) == (reader.name, origin["files"]):
            store = Store.open(out)
            return Prepared(store, True, _read_rejected(out / "rejected.csv"))
    except (KeyError, TypeError) as error:
        raise UserError(f"{out}/manifest.json: the source is not as expected ({error})") from None
    raise UserError(
        f"{out}: holds another store ({manifest.get('dataset')}, made from "
        f"{manifest['source'].get('path', 'other settings')}, or its files have changed since); "
        "give another OUT, or --overwrite"
    )


def _write(
    folder: Path,
    reader: Reader,
    files: list[Path],
    origin: dict[str, Any],
    progress: Progress | None,
) -> list[tuple[str, str]]:
    rejected: list[tuple[str, str]] = []
    table: list[dict[str, Any]] = []
    seen: set[str] = set()
    rows = 0
    with (folder / "joints.npy").open("wb") as file:
        header = _write_header(file, 0, reader.layout)
        for done, path in enumerate(files, start=1):
            try:
                sequence = reader.read(path)
                if sequence.id in seen:
                    raise RejectedError(f"a second sequence named {sequence.id}")
            except RejectedError as error:
                rejected.append((path.name, str(error)))
            else:
                seen.add(sequence.id)
                table.append(_row(sequence, rows))
                file.write(np.ascontiguousarray(sequence.joints, dtype="<f4").tobytes())
                rows += table[-1]["bodies"] * table[-1]["frames"]
            if progress is not None:
                progress(done, len(files))
        file.seek(0)
        if _write_header(file, rows, reader.layout) != header:
            raise AssertionError("the header of joints.npy changed its length")
    if not table:
        first = f"; the first: {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise UserError(f"none of the {len(files)} files can be used{first}")
    index = pd.DataFrame(table, columns=list(COLUMNS))
    index.to_parquet(folder / "index.parquet", index=False)
    if rejected:
        _write_rejected(folder / "rejected.csv", rejected)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dataset": reader.title,
        "reader": reader.name,
        "source": origin,
        "default_split": reader.default_split,
        "class_names": list(reader.class_names),
        "layout": reader.layout.to_dict(),
        "counts": {
            "sequences": len(index),
            "rejected": len(rejected),
            "rows": rows,
            "frames": int(index["frames"].sum()),
            "one_body": int((index["bodies"] == 1).sum()),
            "two_bodies": int((index["bodies"] == 2).sum()),
            "classes": int(index["label"].nunique()),
            "subjects": int(index["subject"].nunique()),
        },
        "settings": {"units": "metres", "up": "y", "fps": reader.fps, "preprocessed": False},
    }
    manifest["checksum"] = checksum(folder / "joints.npy", index, manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return rejected


def _write_header(file: BinaryIO, rows: int, layout: JointLayout) -> int:
    """Write the header of joints.npy (NumPy pads it so that the first axis can grow)."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, len(layout.joints), 3)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _row(sequence: Sequence, offset: int) -> dict[str, Any]:
    values = {key: value for key, value in asdict(sequence).items() if key != "joints"}
    bodies, frames = sequence.joints.shape[:2]
    return values | {"bodies": bodies, "frames": frames, "offset": offset}


def _write_rejected(path: Path, rejected: list[tuple[str, str]]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "reason"), *rejected])
    os.replace(temporary, path)


def _read_rejected(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(row[0], row[1]) for row in list(csv.reader(file))[1:]]


def _replace(folder: Path, out: Path) -> None:
    """Rename the finished folder to ``out``; an old store is moved aside first, then deleted."""
    if out.is_dir() and any(out.iterdir()):
        aside = Path(tempfile.mkdtemp(prefix=f".tmp-{out.name}-old-", dir=out.parent))
        os.replace(out, aside / "store")
        try:
            os.replace(folder, out)
        except BaseException:
            os.replace(aside / "store", out)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(folder, out)
