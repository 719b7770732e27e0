"""Figures and tables as text: units of a figure, Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MEDIAN_RANK = "median rank"
"""The one metric of the protocols that is no share: tables show it as it is, not in %."""


def scale_of(metric: str) -> float:
    """Return what a figure is multiplied by where tables show it: 100 of a share, 1 of a rank."""
    return 1.0 if metric == MEDIAN_RANK else 100.0


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """Return a table as Markdown: a line each, under the names of the first one's columns."""
    head = list(lines[0])
    rows = [head, ["---"] * len(head), *([line.get(name, "") for name in head] for line in lines)]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
