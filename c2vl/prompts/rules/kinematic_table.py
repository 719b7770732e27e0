"""Builds a store's language concept table of captions that rules write from the motion."""

from __future__ import annotations

from pathlib import Path

from c2vl.prompts import language_table
from c2vl.prompts.encoders import Encoder
from c2vl.prompts.language_table import BuiltTable
from c2vl.prompts.rules.captions import RULES, WINDOWS, captions
from c2vl.skeletons.store import Store
from c2vl.support.progress import progress


def caption_store(store: Store, *, windows: int = WINDOWS) -> list[list[str]]:
    """Return the captions of every sequence, in the store's order."""
    fps = float(store.manifest.get("settings", {}).get("fps") or 30)
    found = []
    with progress("sequences described") as shown:
        for position in range(len(store)):
            one = captions(store.joints(position), store.layout, windows=windows, fps=fps)
            found.append(one)
            shown(len(found), len(store))
    return found


def build(
    store: Store,
    out: Path,
    encoder: Encoder[str],
    *,
    cache: Path | None = None,
    windows: int = WINDOWS,
    overwrite: bool = False,
) -> BuiltTable:
    """Write the kinematic language table of a store, unless exactly this table is there.

    Args:
        cache: where features are kept between runs; beside ``out`` when not given.

    Raises:
        UserError: ``out`` holds something else.
    """
    settings = {"method": "kinematic", "rules": RULES, "windows": windows}
    known = (store.digest, encoder.identity, settings)
    if (made := language_table.existing(out, *known, overwrite=overwrite)) is not None:
        return BuiltTable(made, 0)
    texts = caption_store(store, windows=windows)
    return language_table.build(
        out,
        dict(zip((str(name) for name in store.index["id"]), texts, strict=True)),
        encoder,
        cache=cache,
        store=store.digest,
        source="kinematic captions, by rules from the motion alone",
        settings=settings,
        overwrite=overwrite,
    )
