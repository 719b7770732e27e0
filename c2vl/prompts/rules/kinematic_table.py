"""Builds a store's language concept table of captions that rules write from the motion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from c2vl.prompts import language_table
from c2vl.prompts.encoders import Encoder
from c2vl.prompts.language_table import BuiltTable
from c2vl.prompts.rules.captions import RULES, WINDOWS, captions
from c2vl.prompts.rules.sentences import PARTNER, SENTENCES, sentences
from c2vl.prompts.table import RICHER
from c2vl.skeletons.store import Store
from c2vl.support.progress import progress


def caption_store(store: Store, *, windows: int = WINDOWS, rules: int = RULES) -> list[list[str]]:
    """Return the captions of every sequence, in the store's order."""
    fps = float(store.manifest.get("settings", {}).get("fps") or 30)
    layout, partner = store.layout, store.max_bodies > 1
    found: list[list[str]] = []
    known: dict[str, str] = {}  # sentences repeat: one object each, however many sequences
    with progress("sequences described") as shown:
        for joints in (store.joints(position) for position in range(len(store))):
            if rules == RICHER:
                told = sentences(joints, layout, fps=fps, partner=partner)
            else:
                told = captions(joints, layout, windows=windows, fps=fps)
            found.append([known.setdefault(text, text) for text in told])
            shown(len(found), len(store))
    return found


def written_by(store: Store) -> list[str]:
    """Return the rule that writes each caption of a sequence, where the richer rules do."""
    rules = SENTENCES | (PARTNER if store.max_bodies > 1 else {})
    return [rule for rule, number in rules.items() for _ in range(number)]


def build(
    store: Store,
    out: Path,
    encoder: Encoder[str],
    *,
    cache: Path | None = None,
    windows: int = WINDOWS,
    rules: int = RULES,
    overwrite: bool = False,
) -> BuiltTable:
    """Write the kinematic language table of a store, unless exactly this table is there.

    Args:
        cache: where features are kept between runs; beside ``out`` when not given.
        windows: captions a sequence; the richer rules have their own number.
        rules: version of the rules, :data:`.captions.RULES` or :data:`c2vl.prompts.table.RICHER`.
            The table of the latter names in the column ``rule`` what wrote each caption.

    Raises:
        UserError: ``out`` holds something else.
    """
    settings: dict[str, Any] = {"method": "kinematic", "rules": rules, "windows": windows}
    columns = None
    if rules == RICHER:
        del settings["windows"]
        columns = pd.DataFrame({"rule": written_by(store) * len(store)})
    known = (store.digest, encoder.identity, settings)
    if (made := language_table.existing(out, *known, overwrite=overwrite)) is not None:
        return BuiltTable(made, 0)
    texts = caption_store(store, windows=windows, rules=rules)
    return language_table.build(
        out,
        dict(zip((str(name) for name in store.index["id"]), texts, strict=True)),
        encoder,
        cache=cache,
        store=store.digest,
        source="kinematic captions, by rules from the motion alone",
        settings=settings,
        columns=columns,
        overwrite=overwrite,
    )
