"""Decides what to do with an existing OUT: keep it, bring it up to date, or refuse."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from c2vl.skeletons.datasets import Found, Options, Reader
from c2vl.skeletons.preparing.assemble import OldEntries
from c2vl.skeletons.rejected import Rejected, read_rejected
from c2vl.skeletons.store import Store, read_manifest
from c2vl.support.errors import UserError
from c2vl.support.files import require_apart, require_writable, write_text

DType = Literal["float32", "float16"]


@dataclass(frozen=True)
class Prepared:
    """The outcome of :func:`.prepare`.

    Attributes:
        read: number of files that were read; 0 if the store already existed, from the same files.
        taken: number of files whose sequences were taken over from the old store.
    """

    store: Store
    read: int
    taken: int
    rejected: list[Rejected]

    @property
    def already(self) -> bool:
        """Whether the store already existed, from the same files, and was left unchanged."""
        return self.read == 0 and self.taken == 0

    @property
    def unusable(self) -> list[Rejected]:
        """The damaged files, without those that a rule of the dataset leaves out."""
        return [one for one in self.rejected if not one.left_out]


def describe_origin(reader: Reader, source: Path, options: Options, found: Found) -> dict[str, Any]:
    """Describe the source for the manifest, with a digest that changes when any file does."""
    digest = hashlib.sha256(f"{reader.name}\0{reader.version}\n".encode())
    for item in found.items:
        digest.update(f"{item.name}\0{item.fingerprint}\n".encode())
    for one in found.rejected:
        digest.update(f"{one}\n".encode())
    given = {key: str(value) for key, value in options.given().items()}
    files = digest.hexdigest()
    return {"path": str(source), "options": given, "version": reader.version, "files": files}


def facts_of(found: Found) -> dict[str, Any]:
    """Return what a source says of all sequences, as the manifest has it."""
    return {
        "default_split": found.default_split,
        "class_names": list(found.class_names),
        "layout": found.layout.to_dict(),
    }


def existing(
    out: Path,
    reader: Reader,
    origin: dict[str, Any],
    dtype: DType = "float32",
    *,
    facts: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Prepared | Store | None:
    """Inspect ``out`` before anything is written.

    Args:
        facts: what the source says of all sequences (:func:`facts_of`), where that may change
            with the files as they are: a layout, the names of classes.

    Returns:
        ``Prepared`` if the store was made from this origin and these facts; the store if it is of
        the same dataset, prepared the same way, and can be brought up to date; None if a new one
        may be written (nothing is there, or ``overwrite``).

    Raises:
        UserError: another store is there and ``overwrite`` is not set, or it is no store at all, or
            none can be written there.
    """
    require_apart(out)
    if not out.exists():
        require_writable(out.parent)
        return None
    there = [path.name for path in out.iterdir()] if out.is_dir() else [out.name]
    if all(name.startswith(("data-", ".tmp-manifest.json-")) for name in there):
        return None  # killed just before the manifest's rename
    # a concept table has a manifest too
    if not (out / "manifest.json").is_file() or (out / "features.npy").exists():
        raise UserError(f"{out}: exists and is no prepared store; give another OUT")
    if overwrite:
        return None
    manifest = read_manifest(out)
    try:
        source = manifest["source"]
        kind = [manifest["reader"], manifest["settings"]["dtype"], source.get("options")]
        same_files, before = source["files"] == origin["files"], source.get("path", "settings")
        same_facts = facts is None or json.loads(json.dumps(facts)) == {
            name: manifest.get(name) for name in facts
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{out}/manifest.json: the source is not as expected ({error})") from None
    if kind == [reader.name, dtype, origin.get("options")]:
        store = Store.open(out)
        if same_files and same_facts:
            return Prepared(store, 0, 0, read_rejected(store.data / "rejected.csv"))
        if "options" in origin:
            return store
    raise UserError(
        f"{out}: holds another store ({manifest.get('dataset')}, made from {before}, or prepared "
        "with other settings); give another OUT, or --overwrite"
    )


def with_licence(prepared: Prepared, licence: str) -> Prepared:
    """Write the licence into a store's manifest; the store's checksum does not depend on it."""
    store = prepared.store
    if licence in ("", store.manifest.get("licence")):
        return prepared
    text = json.dumps(store.manifest | {"licence": licence}, indent=1) + "\n"
    write_text(store.path / "manifest.json", text)
    return replace(prepared, store=Store.open(store.path))


def entries_of(old: Store | None, reader: Reader, found: Found, out: Path) -> OldEntries | None:
    """Return the old store's entries; None where none can be taken over.

    An earlier version of the reader gave other sequences, another layout may have other joints.

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
    version = old.manifest["source"].get("version", 1)  # there was one only, until it was recorded
    same = version == reader.version and len(old.layout.joints) == len(found.layout.joints)
    return entries if same else None
