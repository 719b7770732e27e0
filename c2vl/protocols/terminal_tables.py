"""Figures on a terminal."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from c2vl.config.held_out import held_out
from c2vl.protocols.results import Result
from c2vl.protocols.table import curves, tables
from c2vl.support.tables import markdown, scale_of


def show_rows(rows: list[Result]) -> None:
    """Print what one command measured, a line a figure."""
    first = rows[0]
    title = f"{first.dataset}, {first.split}, {first.part} part: {first.who}"
    guessed = any(row.chance is not None for row in rows)
    chance = ["chance, %"] if guessed else []
    shown = Table("protocol", "", "figure, %", "95 % interval", *chance, title=title)
    for row in rows:
        name = row.protocol if row.metric == "top-1" else f"{row.protocol}, {row.metric}"
        scale = scale_of(row.metric)
        figure = f"{scale * row.value:.2f}"
        if row.spread is not None:
            figure += f" ± {scale * row.spread:.1f} over {row.draws} draws"
        cells = [figure, f"{scale * row.low:.1f} to {scale * row.high:.1f}, over {row.interval}"]
        if guessed:
            cells.append("–" if row.chance is None else f"{scale * row.chance:.1f}")
        shown.add_row(name, row.setting, *cells)
    shown.caption = _held_out(first)
    Console().print(shown)


def _held_out(row: Result) -> str | None:
    """Say what the encoder saw of what was scored, where it was trained on the same data."""
    seen = row.experiment.get("data.pretrain_on_validation")
    if row.part == "test" or row.dataset != row.trained_on or seen is None:
        return None
    return held_out(seen, row.who.startswith("supervised"))


def show_tables(rows: list[Result], *, as_markdown: bool = False) -> None:
    """Print the paper's tables, beside published figures; for a page where asked."""
    found = tables(rows)
    spoilt = curves(rows)
    if spoilt:
        found.append(("robustness, linear, top-1 in %", spoilt))
    for title, lines in found:
        if as_markdown:
            click.echo(f"### {title}\n\n{markdown(lines)}\n")
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
