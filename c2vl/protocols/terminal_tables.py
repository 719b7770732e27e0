"""Figures on a terminal."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from c2vl.protocols.results import Result
from c2vl.protocols.table import curves, markdown, tables
from c2vl.protocols.units import scale_of


def show_rows(rows: list[Result]) -> None:
    """Print what one command measured, a line a figure."""
    first = rows[0]
    title = f"{first.dataset}, {first.split}, {first.part} part: {first.who}"
    shown = Table("protocol", "", "figure, %", "95 % interval", title=title)
    for row in rows:
        name = row.protocol if row.metric == "top-1" else f"{row.protocol}, {row.metric}"
        scale = scale_of(row.metric)
        spread = f" ± {scale * row.spread:.1f}" if row.spread is not None else ""
        interval = f"{scale * row.low:.1f} to {scale * row.high:.1f}, over {row.interval}"
        shown.add_row(name, row.setting, f"{scale * row.value:.2f}{spread}", interval)
    Console().print(shown)


def show_tables(rows: list[Result], *, as_markdown: bool = False) -> None:
    """Print the paper's tables, beside published figures; for a page where asked."""
    found = tables(rows)
    spoilt = curves(rows)
    if spoilt:
        found.append(("robustness, linear, top-1 in %", spoilt))
    for title, lines in found:
        if as_markdown:
            click.echo(markdown(title, lines) + "\n")
            continue
        shown = Table(title=title)
        cells = [list(lines[0]), *([line.get(name, "") for name in lines[0]] for line in lines)]
        if len(lines[0]) > len(lines):  # a terminal has more room downwards
            cells = [list(row) for row in zip(*cells, strict=True)]
        for name in cells[0]:
            shown.add_column(name)
        for row in cells[1:]:
            shown.add_row(*row)
        Console().print(shown)
