"""From a dataset's raw files to a prepared store: parallel, resumable, incremental, all or nothing.

Files are read in parts (:mod:`.parts`) into ``OUT.preparing``, which outlives whatever ends the
command; the same command goes on with it. The finished arrays are renamed into the store and the
manifest is replaced last, so that a store is at any time either the old one or the new one. Where a
store of the same dataset is there already, only files that are new or have changed are read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from c2vl.registry import import_modules
from c2vl.skeletons.datasets import Found, Options, Reader, Rejected, get_reader
from c2vl.skeletons.preparing.assemble import (
    Assembled,
    Entry,
    OldEntries,
    assemble,
    from_parts,
    read_rejected,
    write_rejected,
)
from c2vl.skeletons.preparing.parts import Part, cut, read_parts
from c2vl.skeletons.store import FORMAT, Store, content_checksum, read_manifest
from c2vl.support.errors import UserError
from c2vl.support.files import see_writable, write_text
from c2vl.support.progress import Progress

DType = Literal["float32", "float16"]
_STORED = {"float32": "<f4", "float16": "<f2"}
_OLD_FILES = ("joints.npy", "index.parquet", "rejected.csv")  # of format 1, beside its manifest


@dataclass(frozen=True)
class Prepared:
    """What :func:`prepare` did.

    Attributes:
        store: the finished store.
        read: files that were read; 0 when the store was there already, made from the same files.
        taken: files that were taken over from the store that was there.
        rejected: what did not become a sequence.
    """

    store: Store
    read: int
    taken: int
    rejected: list[Rejected]

    @property
    def already(self) -> bool:
        """The store was there, made from the same files, and was left alone."""
        return self.read == 0 and self.taken == 0

    @property
    def unusable(self) -> list[Rejected]:
        """What is damaged, without what a rule of the dataset leaves out."""
        return [one for one in self.rejected if not one.left_out]


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

    The bytes of the store do not depend on ``jobs``, nor on how often the work was interrupted.

    Args:
        name: the reader's name.
        source: the dataset's folder or archive.
        out: the folder of the store.
        options: what the reader has to know beyond that.
        dtype: how joints are stored; float16 halves the store and rounds to 1 mm at 2 m.
        jobs: processes; one a core when not given and there is enough to read.
        max_rejected: more unusable sequences than this are an error.
        overwrite: replace whatever store is at ``out``, and read every file anew.
        progress: called with files done and files in all.
        origin: what the manifest says of the source instead of its path and files (a generator's
            settings).
        licence: terms under which the data may be used; whatever is trained on it names them.
            Empty: as an older store at ``out`` has it.
        imports: modules or Python files that register datasets of your own.

    Raises:
        UserError: no such dataset or source, ``out`` is something else, it is being prepared by
            another process, or too many are rejected (then listed in ``OUT.rejected.csv``).
    """
    import_modules(imports)
    reader, options = get_reader(name), options or Options()
    source, out = Path(source), Path(out)
    unknown = sorted(options.given().keys() - reader.options)
    if unknown:
        raise UserError(f"--{unknown[0]}: {name} has no such option")
    found = reader.discover(source, options)
    described = origin or _described(reader, source, options, found)
    old = existing(out, reader, described, dtype, overwrite=overwrite)
    if isinstance(old, Prepared):
        return with_licence(old, licence)
    if old is not None:
        licence = licence or old.manifest.get("licence", "")
    work = out.with_name(out.name + ".preparing")
    with _alone(work):
        prepared = _write(
            out, work, reader, found, described, _old_entries(old, found, out), dtype, jobs,
            max_rejected, progress, imports,
        )  # fmt: skip
        prepared = with_licence(prepared, licence)
    shutil.rmtree(work, ignore_errors=True)
    return prepared


def _described(reader: Reader, source: Path, options: Options, found: Found) -> dict[str, Any]:
    """Return what the manifest says of the source: enough to see whether anything has changed."""
    digest = hashlib.sha256(f"{reader.name}\0{reader.version}\n".encode())
    for item in found.items:
        digest.update(f"{item.name}\0{item.fingerprint}\n".encode())
    for one in found.rejected:
        digest.update(f"{one}\n".encode())
    given = {key: str(value) for key, value in options.given().items()}
    return {"path": str(source), "options": given, "files": digest.hexdigest()}


def existing(
    out: Path,
    reader: Reader,
    origin: dict[str, Any],
    dtype: DType = "float32",
    *,
    overwrite: bool = False,
) -> Prepared | Store | None:
    """Look at what is at ``out`` before anything is written.

    Returns:
        What there is to report if the finished store was made from this very origin; the store if
        it is one of the same dataset, prepared the same way, that can be brought up to date; None
        if a new one may be written (nothing is there, or ``overwrite``).

    Raises:
        UserError: another store is there and ``overwrite`` is not set, or it is no store at all, or
            none can be written there.
    """
    if not out.exists():
        see_writable(out.parent)
        return None
    there = [path.name for path in out.iterdir()] if out.is_dir() else [out.name]
    if all(name.startswith(("data-", ".tmp-manifest.json-")) for name in there):
        return None  # a kill just before the manifest's rename
    if not (out / "manifest.json").is_file():
        raise UserError(f"{out}: exists and is no prepared store; give another OUT")
    if overwrite:
        return None
    manifest = read_manifest(out)
    try:
        source = manifest["source"]
        kind = [manifest["reader"], manifest["settings"]["dtype"], source.get("options")]
        same_files, before = source["files"] == origin["files"], source.get("path", "settings")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{out}/manifest.json: the source is not as expected ({error})") from None
    if kind == [reader.name, dtype, origin.get("options")]:
        store = Store.open(out)
        if same_files:
            return Prepared(store, 0, 0, read_rejected(store.data / "rejected.csv"))
        if "options" in origin:
            return store
    raise UserError(
        f"{out}: holds another store ({manifest.get('dataset')}, made from {before}, or prepared "
        "with other settings); give another OUT, or --overwrite"
    )


def with_licence(prepared: Prepared, licence: str) -> Prepared:
    """Note the licence in a store's manifest; what the store holds does not depend on it."""
    store = prepared.store
    if licence in ("", store.manifest.get("licence")):
        return prepared
    text = json.dumps(store.manifest | {"licence": licence}, indent=1) + "\n"
    write_text(store.path / "manifest.json", text)
    return replace(prepared, store=Store.open(store.path))


def _old_entries(old: Store | None, found: Found, out: Path) -> OldEntries | None:
    """Return what can be taken over.

    Raises:
        UserError: files of the old store are gone, so that sequences would be lost.
    """
    if old is None:
        return None
    entries = OldEntries(old)
    known = {item.name for item in found.items} | {one.file for one in found.rejected}
    gone = [name for name in entries.names if name not in known]
    if gone:
        raise UserError(
            f"{out}: {len(gone)} of its files are not in the source any more (the first: "
            f"{gone[0]}); give another OUT, or --overwrite to do without them"
        )
    return entries


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the folder of the work; it stays when this fails, for the next time.

    Raises:
        UserError: another process holds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{work}: another process is preparing this store") from None
        yield


def _write(
    out: Path,
    work: Path,
    reader: Reader,
    found: Found,
    origin: dict[str, Any],
    old: OldEntries | None,
    dtype: DType,
    jobs: int | None,
    max_rejected: int,
    progress: Progress | None,
    imports: Sequence[str],
) -> Prepared:
    stored = _STORED[dtype]
    fresh = [item for item in found.items if old is None or item not in old]
    parts = cut(fresh, reader, stored)
    read_parts(parts, work, reader.read, stored, jobs, progress, imports)
    data = work / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    listing = out.with_name(out.name + ".rejected.csv")
    entries = _in_order(found, old, parts, work, stored)
    try:
        written = assemble(data, found.items, entries, found.layout, stored, found.rejected)
    except UserError:
        os.replace(data / "rejected.csv", listing)
        raise
    unusable = [one for one in written.rejected if not one.left_out]
    if len(unusable) > max_rejected:
        write_rejected(listing, written.rejected)
        raise UserError(
            f"{len(unusable)} cannot be used, more than --max-rejected {max_rejected}; the first: "
            f"{unusable[0].file}: {unusable[0].reason}. All are listed in {listing}. What was read "
            f"is kept in {work}: the command with a higher --max-rejected reads nothing again"
        )
    manifest = _manifest(reader, found, origin, dtype, written)
    _commit(out, data, manifest)
    listing.unlink(missing_ok=True)
    return Prepared(Store.open(out), len(fresh), len(found.items) - len(fresh), written.rejected)


def _in_order(
    found: Found, old: OldEntries | None, parts: list[Part], work: Path, stored: str
) -> Iterator[Entry]:
    """Yield the entry of each item, from where it is."""
    fresh = from_parts(parts, work, found.layout, stored)
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
        "default_split": found.default_split,
        "class_names": list(found.class_names),
        "layout": found.layout.to_dict(),
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
    """Bring the finished data into the store; the manifest's rename is the moment of change."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"data-{manifest['checksum'][:12]}"
    number = 1
    while (out / name).exists():  # left by a kill, or in use until the manifest changes
        number += 1
        name = f"data-{manifest['checksum'][:12]}-{number}"
    os.replace(data, out / name)
    write_text(out / "manifest.json", json.dumps(manifest | {"data": name}, indent=1) + "\n")
    for path in out.glob("data-*"):
        if path.name != name:
            shutil.rmtree(path, ignore_errors=True)
    for old in _OLD_FILES:
        (out / old).unlink(missing_ok=True)
