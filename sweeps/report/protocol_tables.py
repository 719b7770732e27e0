"""The test scores as tables: the sweep's own, and the protocols' rows with intervals."""

from __future__ import annotations

from pathlib import Path

from c2vl.protocols.results import read_folder
from c2vl.protocols.table import Table, tables
from sweeps.choosing.final_choice import FinalChoice


def protocol_tables(folder: Path, final: FinalChoice | None) -> list[tuple[str, Table]]:
    """Return title and lines of each table; none before anything was scored on the test part.

    Args:
        folder: where the protocols wrote their rows.
        final: the choice and its test scores.
    """
    if final is None or not final.test:
        return []
    found: list[tuple[str, Table]] = [(final.title, final.table())]
    if folder.is_dir() and (rows := read_folder([folder])):
        found += [(f"All protocols: {title}", lines) for title, lines in tables(rows)]
    return found
