"""What the test part said, as tables: the sweep's own, and the protocols' rows with intervals."""

from __future__ import annotations

from c2vl.protocols.results import read_folder
from c2vl.protocols.table import Table, tables
from sweeps.choosing.finals import Final, results_folder
from sweeps.spec.sweep import SweepSettings


def protocol_tables(spec: SweepSettings, final: Final | None) -> list[tuple[str, Table]]:
    """Return title and lines of each table; none before the test part has been read."""
    if final is None or not final.test:
        return []
    found: list[tuple[str, Table]] = [(final.title, final.table())]
    folder = results_folder(spec)
    if folder.is_dir() and (rows := read_folder([folder])):
        found += [(f"All protocols: {title}", lines) for title, lines in tables(rows)]
    return found
