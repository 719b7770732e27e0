"""The report as one HTML page, which opens without a server or a network.

All text reaches the page through a template that escapes it, or as JSON that the script writes
with ``textContent``: names and descriptions are somebody else's.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from c2vl.config.reading import dump
from c2vl.encoder.ledger import scorings
from c2vl.support.progress import span
from sweeps.choosing.reliability import told_apart
from sweeps.choosing.verdict import heading, verdict
from sweeps.report.about import about, steps
from sweeps.report.costs import costs
from sweeps.report.gallery import gallery
from sweeps.report.tables import hours, number, score_tables
from sweeps.report.trials import Trials
from sweeps.report.winner import candidate_summaries, winning_training
from sweeps.search.study import ENDED
from sweeps.spec.reading import public_dump


def page(trials: Trials) -> str:
    """Return the page."""
    spec, final = trials.spec, trials.final
    counts = {outcome: len(trials.of(outcome)) for outcome in ENDED}
    training = winning_training(trials)
    spent, candidates = costs(trials), candidate_summaries(trials)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "span": span, "hours": hours}
    return environment.from_string(_read("page.html")).render(
        script=Markup(_read("page.js")),  # ours: nothing to escape
        style=Markup(_read("page.css")),
        spec=spec,
        final=final,
        counts={**counts, "running": trials.running},
        infeasible=sum(not trial.record.feasible for trial in trials.complete),
        best=next((t for t in trials.complete if t.number == trials.winner), None),
        candidates=candidates,
        spent=spent,
        about=about(trials),
        steps=steps(spec, training) if training else [],
        winner_yaml=dump(training.experiment) if training else "",
        sweep_yaml=public_dump(spec),
        tables=score_tables(spec.folder.results, final),
        heading=heading(final) if final else "Best so far",
        verdict=verdict(final) if final else [],
        scorings=scorings(spec.folder.results),
        held_out=spec.base.held_out,
        told_apart=told_apart(spec, [trial.record for trial in trials.complete], final),
        seeds=max((len(one.by_seed) for one in candidates), default=1),
        agreements=[one.row() for one in trials.agreements],
        pictures=gallery(trials, spent, candidates),
        data=_data(trials),
    )


def _read(name: str) -> str:
    return (files("sweeps.report") / name).read_text(encoding="utf-8")


def _data(trials: Trials) -> dict[str, Any]:
    """What the script needs for its table and its hints."""
    spec = trials.spec
    metrics = [objective.metric for objective in spec.objectives]
    rows = [
        [
            trial.number,
            trial.outcome,
            *([None] * len(metrics) if trial.values is None else map(_short, trial.values)),
            trial.epochs,
            round(trial.seconds, 1),
            *[trial.drawn.get(name) for name in spec.space],
        ]
        for trial in trials.all
    ]
    columns = ["trial", "outcome", *metrics, "epochs", "seconds", *spec.space]
    return {"name": spec.name, "columns": columns, "drawn": len(spec.space), "rows": rows}


def _short(value: float) -> float:
    return float(f"{value:.6g}")
