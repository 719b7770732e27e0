"""From a dataset's raw files to a prepared store: parallel, resumable, incremental, atomic.

``prepare`` reads files in chunks (:mod:`.chunks`) into ``OUT.preparing``, which stays when the
command is interrupted; the same command continues with it. It renames the finished arrays into the
store and replaces the manifest last, so that a store is at any time either the old one or the new
one. If OUT holds a store of the same dataset, only files that are new or have changed are read.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from c2vl.registry import import_modules
from c2vl.skeletons.axes import Conversion, looked_at, require_bodies
from c2vl.skeletons.datasets import Found, Options, Reader, get_reader, read_item
from c2vl.skeletons.preparing.assemble import Assembled, Entry, OldEntries, assemble, from_chunks
from c2vl.skeletons.preparing.chunks import Chunk, cut, read_chunks
from c2vl.skeletons.preparing.existing import (
    DType,
    Prepared,
    describe_origin,
    entries_of,
    existing,
    facts_of,
    with_licence,
)
from c2vl.skeletons.rejected import write_rejected
from c2vl.skeletons.store import FORMAT, Store, content_checksum
from c2vl.support.errors import UserError
from c2vl.support.files import write_error, write_text
from c2vl.support.progress import Progress

_STORED = {"float32": "<f4", "float16": "<f2"}
_OLD_FILES = ("joints.npy", "index.parquet", "rejected.csv")  # of format 1, beside its manifest


def prepare(
    name: str,
    source: Path,
    out: Path,
    *,
    options: Options | None = None,
    dtype: DType = "float32",
    jobs: int | None = None,
    max_rejected: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    origin: dict[str, Any] | None = None,
    licence: str = "",
    imports: Sequence[str] = (),
) -> Prepared:
    """Read a dataset into a store.

    The bytes of the store depend neither on ``jobs`` nor on interruptions.

    Args:
        dtype: how joints are stored; float16 halves the store and rounds to 1 mm at 2 m.
        jobs: processes; default: one a core if there is enough to read.
        max_rejected: more unusable sequences than this are an error.
        overwrite: replace any store at ``out``, and read every file again.
        progress: called with files done and files in all.
        origin: describes the source in the manifest in place of its path and files (a generator's
            settings).
        licence: terms of use of the data, which the card of every encoder trained on it names.
            Empty: the licence of an older store at ``out``.
        imports: modules or Python files that register datasets of your own.

    Raises:
        UserError: no such dataset or source, ``out`` is something else, it is being prepared by
            another process, too many are rejected (then listed in ``OUT.rejected.csv``), or bodies
            lie along another axis than y or are of no body's size.
    """
    import_modules(imports)
    reader, options = get_reader(name), options or Options()
    conversion = reader.conversion(options)
    source, out = Path(source), Path(out)
    unknown = sorted(options.given().keys() - reader.options - {"up", "unit"})
    if unknown:
        raise UserError(f"--{unknown[0]}: {name} has no such option")
    found = reader.discover(source, options)
    described = origin or describe_origin(reader, source, options, found)
    facts = None if origin else facts_of(found)  # an origin is all that decides the content
    old = existing(out, reader, described, dtype, facts=facts, overwrite=overwrite)
    if isinstance(old, Prepared):
        return with_licence(old, licence)
    if old is not None:
        licence = licence or old.manifest.get("licence", "")
    kept = entries_of(old, reader, found, out)
    fresh = [item for item in found.items if kept is None or item not in kept]
    stored = _STORED[dtype]
    chunks = cut(fresh, reader, conversion, stored)
    work = out.with_name(out.name + ".preparing")
    with _locked(work):
        read = partial(read_item, reader.read, conversion=conversion)
        read_chunks(chunks, work, read, stored, jobs, progress, imports)
        data = work / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        listing = out.with_name(out.name + ".rejected.csv")
        entries = _in_order(found, kept, chunks, work, stored)
        try:
            written = assemble(data, found.items, entries, found.layout, stored, found.rejected)
        except UserError as error:
            if not (data / "rejected.csv").exists():  # it is about something else
                raise
            os.replace(data / "rejected.csv", listing)
            raise UserError(f"{error}. All are listed in {listing}") from None
        unusable = [one for one in written.rejected if not one.left_out]
        if len(unusable) > max_rejected:
            write_rejected(listing, written.rejected)
            raise UserError(
                f"{len(unusable)} cannot be used, more than --max-rejected {max_rejected}; the "
                f"first: {unusable[0]}. All are listed in {listing}. "
                f"What was read is kept in {work}: the command with a higher --max-rejected reads "
                "nothing again"
            )
        _look_at(data, written, found, options, conversion)
        _commit(out, data, _manifest(reader, found, described, dtype, written))
        listing.unlink(missing_ok=True)
        taken = len(found.items) - len(fresh)
        prepared = Prepared(Store.open(out), len(fresh), taken, written.rejected)
        prepared = with_licence(prepared, licence)
    shutil.rmtree(work, ignore_errors=True)
    return prepared


def _look_at(
    data: Path, written: Assembled, found: Found, options: Options, conversion: Conversion
) -> None:
    """Refuse bodies that do not stand along y or are of no body's size."""
    joints = np.load(data / "joints.npy", mmap_mode="r")
    table = written.index[["offset", "bodies", "frames"]].to_numpy()
    rows = table[looked_at(len(table))].tolist()
    require_bodies(
        (
            joints[at : at + bodies * frames].reshape(bodies, frames, *joints.shape[1:])
            for at, bodies, frames in rows
        ),
        found.layout,
        conversion,
        up=options.up,
        unit=options.unit,
    )


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Lock the working folder, which stays after a failure for the next attempt.

    Raises:
        UserError: another process holds it, or files cannot be written there.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{work}: another process is preparing this store") from None
            yield
    except OSError as error:  # a reader's become rejections
        raise write_error(work, error) from None


def _in_order(
    found: Found, old: OldEntries | None, chunks: list[Chunk], work: Path, stored: str
) -> Iterator[Entry]:
    """Yield the entry of each item, from the old store or the chunks."""
    fresh = from_chunks(chunks, work, found.layout, stored)
    for item in found.items:
        if old is not None and item in old:
            yield old.entry(item)
        else:
            read, entry = next(fresh)
            assert read is item
            yield entry


def _manifest(
    reader: Reader, found: Found, origin: dict[str, Any], dtype: DType, written: Assembled
) -> dict[str, Any]:
    index = written.index
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dataset": reader.title,
        "reader": reader.name,
        "source": origin,
        **facts_of(found),
        "counts": {
            "sequences": len(index),
            "rejected": sum(not one.left_out for one in written.rejected),
            "left_out": sum(one.left_out for one in written.rejected),
            "rows": written.rows,
            "frames": int(index["frames"].sum()),
            "one_body": int((index["bodies"] == 1).sum()),
            "two_bodies": int((index["bodies"] == 2).sum()),
            "classes": int(index["label"][index["label"] >= 0].nunique()),
            "subjects": int(index["subject"][index["subject"] >= 0].nunique()),
        },
        "decisions": written.decisions,
        "settings": {
            "units": "metres",
            "up": "y",
            "fps": found.fps,
            "preprocessed": False,
            "dtype": dtype,
        },
    }
    manifest["checksum"] = content_checksum(index, manifest)
    return manifest


def _commit(out: Path, data: Path, manifest: dict[str, Any]) -> None:
    """Move the finished data into the store; replacing the manifest makes it current."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"data-{manifest['checksum'][:12]}"
    number = 1
    while (out / name).exists():  # left by a killed command, or in use until the manifest changes
        number += 1
        name = f"data-{manifest['checksum'][:12]}-{number}"
    os.replace(data, out / name)
    write_text(out / "manifest.json", json.dumps(manifest | {"data": name}, indent=1) + "\n")
    for path in out.glob("data-*"):
        if path.name != name:
            shutil.rmtree(path, ignore_errors=True)
    for old in _OLD_FILES:
        (out / old).unlink(missing_ok=True)
