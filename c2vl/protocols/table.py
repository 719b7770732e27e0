"""The paper's table from rows: one line a judged thing, one column a figure, seeds pooled."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from c2vl.protocols.published import beside
from c2vl.protocols.results import Result

COLUMNS = {
    "linear": "linear",
    "linear_sgd": "SGD, last",
    "linear_sgd_best": "SGD, best",
    "knn1": "1-NN",
    "knn20": "20-NN",
    "map": "mAP",
    "nmi": "NMI",
    "ari": "ARI",
    "fewshot1": "1-shot",
    "fewshot5": "5-shot",
    "zeroshot": "zero-shot",
    "semi1": "1 %",
    "semi10": "10 %",
    "finetune": "fine-tune",
    "ensemble": "3 streams",
}
Table = list[dict[str, str]]


def tables(rows: Iterable[Result]) -> list[tuple[str, Table]]:
    """Build a table for each dataset, split and part, with published figures below.

    A cell is mean ± standard deviation over seeds, in %; with one seed, the figure and its 95 %
    interval. Seeds are those of the encoders, and the column says how many a line has at most.

    Returns:
        Title and lines of each.
    """
    groups: dict[tuple[str, str, str, bool], list[Result]] = {}
    for row in rows:
        if "@" not in row.key:
            transferred = row.protocol.startswith("transfer")
            groups.setdefault((row.dataset, row.split, row.part, transferred), []).append(row)
    found = []
    for (dataset, split, part, transferred), group in groups.items():
        keys = [key for key in COLUMNS if any(row.key == key for row in group)]
        lines: Table = []
        for who in dict.fromkeys(row.who for row in group):
            own = [row for row in group if row.who == who]
            most = max(sum(row.key == key for row in own) for key in keys)
            line = {"": who, "seeds": str(most)}
            for key in keys:
                line[COLUMNS[key]] = _cell([r for r in group if (r.who, r.key) == (who, key)])
            lines.append(line)
        for key in () if transferred else ("linear", "ensemble"):
            for method, source, figure in beside(split, key) if key in keys else []:
                empty = {"seeds": "", **{COLUMNS[other]: "" for other in keys}}
                streams = " 3 streams" if key == "ensemble" else ""
                name = f"{method}{streams} ({source})"
                lines.append({"": name, **empty, COLUMNS[key]: f"{figure:.1f}"})
        title = f"{dataset}, {split}, {part} part, in %"
        if transferred:
            origins = ", ".join(sorted({row.trained_on for row in group}))
            title = f"transfer from {origins} to {title}"
        found.append((title, lines))
    return found


def curves(rows: Iterable[Result]) -> Table:
    """The robustness curves: one line a way of spoiling and a judged thing, a column a level."""
    lines: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for row in rows:
        name, at, level = row.key.partition("@")
        if at:
            key = (name.replace("_", " "), row.who)
            lines.setdefault(key, {}).setdefault(level, []).append(row)
    return [
        {"": f"{name}: {who}"}
        | {"levels": ", ".join(f"{level} → {_cell(found)}" for level, found in levels.items())}
        for (name, who), levels in lines.items()
    ]


def _cell(rows: list[Result]) -> str:
    if not rows:
        return "–"
    values = [100 * row.value for row in rows]
    mean = f"{statistics.mean(values):.1f}"
    if len(values) > 1:
        return f"{mean} ± {statistics.stdev(values):.1f}"
    return f"{mean} ({100 * rows[0].low:.1f}–{100 * rows[0].high:.1f})"


def markdown(title: str, lines: Table) -> str:
    """A table as Markdown."""
    head = list(lines[0])
    rule = ["---"] * len(head)
    body = [[line.get(column, "") for column in head] for line in lines]
    text = [f"### {title}", ""] if title else []
    return "\n".join([*text, *("| " + " | ".join(row) + " |" for row in (head, rule, *body))])
