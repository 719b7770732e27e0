"""Builds language concept tables of published captions or a user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from c2vl.prompts import captions_file, language_table
from c2vl.prompts.captions_file import Short
from c2vl.prompts.encoders import Encoder
from c2vl.prompts.language_table import BuiltTable
from c2vl.prompts.table_writing import within_store
from c2vl.prompts.video.answers import Answer, usable_text
from c2vl.skeletons.store import Store


def import_captions(
    source: Path,
    out: Path,
    encoder: Encoder[str],
    *,
    store: Store | None = None,
    prompts: int | None = None,
    short: Short | None = None,
    cache: Path | None = None,
    overwrite: bool = False,
) -> BuiltTable:
    """Make a table of a file of captions, unless exactly this table is there.

    Args:
        source: see :mod:`c2vl.prompts.captions_file`.
        store: sequences that it does not have are left out and listed in ``rejected.csv``.
        prompts: captions a sequence; when not given the most frequent number, of people's own
            descriptions (a folder of texts) the largest, so that none is lost.
        short: as :func:`.captions_file.even` has it; when not given, captions of such a folder are
            repeated, other sequences with too few are left out.
        cache: where features are kept between runs; beside ``out`` when not given.

    Raises:
        UserError: the file cannot be read, no sequence is left, or ``out`` holds something else.
    """
    found = captions_file.read(source)
    if texts := captions_file.texts_of(source):
        prompts = prompts or max(map(len, found.values()))
        short = short or "repeat"
        listed = sorted(f"{file.name} {file.size} {file.stamp}" for file in texts)
        content = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    else:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    short = short or "reject"
    settings = {"method": "import", "file": content, "prompts": prompts, "short": short}
    digest = store.digest if store is not None else ""
    known = (digest, encoder.identity, settings)
    if (made := language_table.existing(out, *known, overwrite=overwrite)) is not None:
        return BuiltTable(made, 0)
    surplus: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    if store is not None:
        kept, surplus = within_store(list(found), store, source)
        counts = {"surplus": len(surplus), "missing": len(store) - len(kept)}
        found = {name: row for name, row in found.items() if name in kept}
    even = captions_file.even(found, prompts=prompts, short=short)
    said = {text for row in even.texts.values() for text in row}
    counts["no_captions"] = sum(usable_text(Answer(text))[1] != "ok" for text in said)
    return language_table.build(
        out,
        even.texts,
        encoder,
        cache=cache,
        rejected=surplus + even.rejected,
        store=digest,
        source=source.name,
        settings=settings,
        counts=counts | {"filled": even.filled},
        overwrite=overwrite,
    )
