"""The paper's table from rows: one line an experiment, one column a figure, seeds pooled."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from c2vl.protocols.published import beside
from c2vl.protocols.results import Result
from c2vl.support.tables import MEDIAN_RANK, scale_of

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
    Encoders of different experiments stand in different lines, named by what differs. A line says
    what chance alone scores, where protocols tell it.

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
        measured = dict.fromkeys(row.key for row in group)  # protocols of others have own keys
        titles = {key: COLUMNS.get(key, key) for key in (*COLUMNS, *measured) if key in measured}
        titles |= {row.key: f"{row.key} (rank)" for row in group if row.metric == MEDIAN_RANK}
        keys = list(titles)
        lines: Table = []
        for who, own in by_experiment(group):
            most = max(sum(row.key == key for row in own) for key in keys)
            line = {"": who, "seeds": str(most)}
            for key in keys:
                line[titles[key]] = _cell([row for row in own if row.key == key])
            lines.append(line)
        chances = {titles[key]: _chance([row for row in group if row.key == key]) for key in keys}
        if any(chances.values()):
            lines.append({"": "chance", "seeds": "", **chances})
        for key in () if transferred else ("linear", "ensemble"):
            for method, source, figure in beside(split, key) if key in keys else []:
                empty = {"seeds": "", **{titles[other]: "" for other in keys}}
                streams = " 3 streams" if key == "ensemble" else ""
                name = f"{method}{streams} ({source})"
                lines.append({"": name, **empty, titles[key]: f"{figure:.1f}"})
        title = f"{dataset}, {split}, {part} part, in %"
        if transferred:
            origins = ", ".join(sorted({row.trained_on for row in group}))
            title = f"transfer from {origins} to {title}"
        found.append((title, lines))
    return found


def by_experiment(rows: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    """Group rows whose encoders differ in their seed alone.

    Returns:
        Label and rows of each group. Groups of one label are told apart by the settings that
        differ, else by the protocols' options, else by their encoder.
    """
    groups: dict[tuple[Any, ...], list[Result]] = {}
    twins: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    times: Counter[tuple[str, str, str]] = Counter()  # an encoder may be scored with other options
    for row in rows:
        experiment = json.dumps(row.experiment, sort_keys=True)
        same = twins[row.who, experiment, row.encoder_seed]
        if row.encoder not in same:
            same.append(row.encoder)
        scored = (row.who, row.encoder, row.key)
        group = (row.who, experiment, same.index(row.encoder), times[scored])
        times[scored] += 1
        groups.setdefault(group, []).append(row)
    found = []
    for (who, *_), own in groups.items():
        peers = [group for (name, *_), group in groups.items() if name == who and group is not own]
        told = _differing([group[0].experiment for group in (own, *peers)])
        told = told or _differing([_options(group) for group in (own, *peers)])
        label = told or f"encoder {own[0].encoder[:8]}"
        found.append((f"{who} ({label})" if peers else who, own))
    return found


def _differing(ours_and_others: list[dict[str, Any]]) -> str:
    """Word what differs: what both have, or else what others lack (of another backbone, say)."""
    ours, *others = ours_and_others
    unlike = {key for key in ours if any(them.get(key) != ours[key] for them in others)}
    shared = {key for key in unlike if all(key in them for them in others)}
    names = sorted(shared or unlike)
    return ", ".join(f"{key}={ours[key]}" for key in names)


def _options(rows: list[Result]) -> dict[str, Any]:
    return {f"{row.protocol} {key}": value for row in rows for key, value in row.options.items()}


def curves(rows: Iterable[Result]) -> Table:
    """The robustness curves: one line a way of spoiling and a judged thing, a column a level."""
    lines: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for who, own in by_experiment(row for row in rows if "@" in row.key):
        for row in own:
            name, _, level = row.key.partition("@")
            lines.setdefault((name.replace("_", " "), who), {}).setdefault(level, []).append(row)
    return [
        {"": f"{name}: {who}"}
        | {"levels": ", ".join(f"{level} → {_cell(found)}" for level, found in levels.items())}
        for (name, who), levels in lines.items()
    ]


def _chance(rows: list[Result]) -> str:
    """What guessing scores in a column; a range where its rows differ, of retrieval from others."""
    found = sorted(
        {f"{scale_of(row.metric) * row.chance:.1f}" for row in rows if row.chance is not None},
        key=float,
    )
    return "–".join(dict.fromkeys([*found[:1], *found[-1:]]))


def _cell(rows: list[Result]) -> str:
    if not rows:
        return "–"
    scale = scale_of(rows[0].metric)
    values = [scale * row.value for row in rows]
    mean = f"{statistics.mean(values):.1f}"
    if len(values) > 1:
        return f"{mean} ± {statistics.stdev(values):.1f}"
    return f"{mean} ({scale * rows[0].low:.1f}–{scale * rows[0].high:.1f})"
