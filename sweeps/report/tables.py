"""A sweep as tables, for files and for programs; a summary in Markdown; numbers for readers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2vl.support.tables import markdown
from sweeps.report.trials import Trial, Trials
from sweeps.search.study import ENDED
from sweeps.spec.sweep import SweepSettings

_APART = "Difference to the winner, paired by seed, with its 95 % interval"

if TYPE_CHECKING:
    from c2vl.protocols.table import Table
    from sweeps.choosing.final_choice import FinalChoice


def rows_of(spec: SweepSettings, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a row a trial: outcome, objectives, epochs, seconds, and what was drawn."""
    missing = [""] * len(spec.objectives)
    return [
        {
            "trial": trial.number,
            "run": trial.name,
            "outcome": trial.outcome,
            **dict(zip((o.metric for o in spec.objectives), trial.values or missing, strict=True)),
            "epochs": trial.epochs,
            "seconds": round(trial.seconds, 1),
            **{name: trial.drawn.get(name, "") for name in spec.space},
        }
        for trial in trials
    ]


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Return rows as CSV, under a line of names."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["trial"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def summary(trials: Trials, rows: list[dict[str, Any]]) -> str:
    """Return the sweep in Markdown.

    Args:
        rows: the same as :func:`rows_of` gives them.
    """
    from sweeps.choosing.reliability import told_apart
    from sweeps.choosing.verdict import heading, verdict

    spec, final = trials.spec, trials.final
    lines = [f"# Sweep {spec.name}", "", spec.description, ""]
    counts = []
    for outcome in ENDED:
        own = [row for row in rows if row["outcome"] == outcome]
        seconds = f"{sum(row['seconds'] for row in own):.0f}"
        counts.append({"outcome": outcome, "trials": str(len(own)), "training seconds": seconds})
    lines.append(markdown(counts))
    if compared := trials.agreements:
        title = "How well scores without labels ranked the complete trials, on validation"
        lines += ["", title, "", markdown([one.row() for one in compared])]
    records = [trial.record for trial in trials.complete]
    lines += ["", *(f"- {sentence}" for sentence in told_apart(spec, records, final))]
    if final is None:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        f"{heading(final)}: trial {final.trial}, chosen by {final.metric}. {spec.base.held_out}",
        "",
    ]
    lines += [f"- {run}: {final.metric} {value:.4f}" for run, value in final.validation.items()]
    drawn = [f"- {name}: {json.dumps(value)}" for name, value in final.values.items()]
    lines += ["", "Drawn:", "", *drawn]
    if scored := final.table():
        lines += ["", final.title, "", markdown(scored)]
    if apart := final.differences():
        lines += ["", _APART, "", markdown(apart)]
    if told := verdict(final):
        lines += ["", *(f"- {sentence}" for sentence in told)]
    return "\n".join(lines) + "\n"


def score_tables(folder: Path, final: FinalChoice | None) -> list[tuple[str, Table]]:
    """Return title and lines of each table of test scores; none before anything was scored.

    Args:
        folder: where the protocols wrote their rows.
        final: the choice and its test scores.
    """
    from c2vl.protocols.results import read_folder
    from c2vl.protocols.table import tables

    if final is None or not final.test:
        return []
    found: list[tuple[str, Table]] = [(final.title, final.table())]
    if apart := final.differences():
        found.append((_APART, apart))
    if folder.is_dir() and (rows := read_folder([folder])):
        found += [(f"All protocols: {title}", lines) for title, lines in tables(rows)]
    return found


def number(value: Any) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def hours(value: float) -> str:
    """Hours for people: three digits, never as a power of ten."""
    if not value:
        return "0"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.01 else f"{value:.3f}"
