"""Tables and pictures of a sweep, as files: who won, what was pruned, what mattered."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.figure import Figure

from c2vl.config_files import flatten
from c2vl.objective.schedule import softening
from sweeps.finals import Final
from sweeps.jobs import Job, Outcome
from sweeps.space import Float, Int
from sweeps.spec import SweepSettings
from sweeps.study import ENDED, objective_values

COLOUR = {"complete": "#3b6fb6", "pruned": "#b9c2cf", "failed": "#c8553d"}
BEST = "#e08e1b"
TOP = 5

Trials = list[tuple[Job, Outcome]]


def write_report(
    spec: SweepSettings, study: optuna.Study, trials: Trials, final: Final | None
) -> Path:
    """Write ``trials.csv``, ``summary.md`` and the pictures into the sweep's ``report/``.

    Args:
        spec: the sweep.
        study: its record.
        trials: every trial that has run, and how it ended.
        final: the choice and its test figures, once there are any.

    Returns:
        The folder.
    """
    folder = spec.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    rows = table(spec, trials)
    _write_csv(folder / "trials.csv", rows)
    (folder / "summary.md").write_text(summary(spec, rows, final), encoding="utf-8")
    weights = importances(study)
    pictures: dict[str, Callable[[Any], None]] = {
        "history": lambda axes: _history(axes, spec, trials),
        "curves": lambda axes: _curves(axes, spec, trials),
        "importances": lambda axes: _importances(axes, weights),
        "schedule": lambda axes: _schedules(axes, spec, trials),
        "parallel": lambda axes: _parallel(axes, spec, trials),
    }
    for name, draw in pictures.items():
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        draw(figure.subplots())
        figure.savefig(folder / f"{name}.png", dpi=130)
    figure = Figure(figsize=(13, 8), layout="constrained")
    figure.suptitle(f"{spec.name}: {len(trials)} trials" + (f" on {final.data}" if final else ""))
    cells: list[Any] = [
        ["history", "history", "curves", "curves", "schedule", "schedule"],
        ["parallel"] * 4 + ["importances"] * 2,
    ]
    mosaic = figure.subplot_mosaic(cells)
    for name, axes in mosaic.items():
        pictures[name](axes)
    figure.savefig(folder / "sweep.png", dpi=110)
    return folder


def table(spec: SweepSettings, trials: Trials) -> list[dict[str, Any]]:
    """Return a row a trial: outcome, objectives, epochs, seconds, and what was drawn."""
    rows = []
    for job, outcome in trials:
        history = job.rows()
        seconds = sum(row.get("seconds", 0.0) for row in history)
        found = objective_values(spec.objectives, history)
        values = ["" for _ in spec.objectives] if found is None else found
        rows.append(
            {
                "trial": job.number,
                "run": job.name,
                "outcome": outcome,
                **{o.metric: v for o, v in zip(spec.objectives, values, strict=True)},
                "epochs": len(history),
                "seconds": round(seconds, 1),
                **{name: job.values.get(name, "") for name in spec.space},
            }
        )
    return rows


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def summary(spec: SweepSettings, rows: list[dict[str, Any]], final: Final | None) -> str:
    """Return the sweep in Markdown."""
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in COLOUR}
    seconds = {
        outcome: sum(row["seconds"] for row in rows if row["outcome"] == outcome)
        for outcome in COLOUR
    }
    lines = [f"# Sweep {spec.name}", "", spec.description, ""]
    lines += ["| outcome | trials | training seconds |", "|---|---|---|"]
    lines += [f"| {name} | {counts[name]} | {seconds[name]:.0f} |" for name in COLOUR]
    if final is None:
        return "\n".join(lines) + "\n"
    lines += ["", f"Winner: trial {final.trial}, chosen by {final.metric} on validation:", ""]
    lines += [f"- {run}: {final.metric} {value:.4f}" for run, value in final.validation.items()]
    drawn = [f"- {name}: {json.dumps(value)}" for name, value in final.values.items()]
    lines += ["", "Drawn:", "", *drawn]
    if scored := final.table():
        lines += ["", final.title, "", "| " + " | ".join(scored[0]) + " |"]
        lines += ["|" + "---|" * len(scored[0])]
        lines += ["| " + " | ".join(row.values()) + " |" for row in scored]
    return "\n".join(lines) + "\n"


def importances(study: optuna.Study) -> dict[str, float]:
    """Return fANOVA importances of what was drawn; empty with too few complete trials."""
    complete = [t for t in study.get_trials(deepcopy=False) if ENDED.get(t.state) == "complete"]
    distinct = {t.values[0] for t in complete}
    if len(complete) < 4 or len(distinct) < 2:
        return {}
    target = None if len(study.directions) == 1 else (lambda trial: float(trial.values[0]))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)
    except ValueError:  # conditional spaces without one variable in common
        return {}


def _value(spec: SweepSettings, job: Job) -> float | None:
    values = objective_values(spec.objectives[:1], job.rows())
    return values[0] if values else None


def _history(axes: Any, spec: SweepSettings, trials: Trials) -> None:
    sign = 1 if spec.objectives[0].direction == "maximize" else -1
    best: list[tuple[int, float]] = []
    for outcome in COLOUR:
        points = [(j.number, _value(spec, j)) for j, o in trials if o == outcome]
        points = [(number, value) for number, value in points if value is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), color=COLOUR[outcome], label=outcome, zorder=3)
    for job, outcome in sorted(trials, key=lambda pair: pair[0].number):
        value = _value(spec, job) if outcome == "complete" else None
        if value is not None:
            top = max([v for _, v in best] + [value], key=lambda v: sign * v)
            best.append((job.number, top))
    if best:
        axes.step(*zip(*best, strict=True), where="post", color=BEST, label="best so far")
    axes.set(xlabel="trial", ylabel=spec.objectives[0].metric, title="History")
    axes.legend(frameon=False)


def _curves(axes: Any, spec: SweepSettings, trials: Trials) -> None:
    metric = spec.objectives[0].metric
    for job, outcome in sorted(trials, key=lambda pair: pair[1] == "complete"):
        points = [
            (r["epoch"], r[metric]) for r in job.rows() if math.isfinite(r.get(metric, math.nan))
        ]
        if points:
            axes.plot(*zip(*points, strict=True), color=COLOUR[outcome], marker=".", lw=1.2)
    axes.set(xlabel="epoch", ylabel=metric, title="Learning curves (grey: pruned)")


def _importances(axes: Any, weights: dict[str, float]) -> None:
    axes.set(title="Importance (fANOVA)")
    if not weights:
        axes.text(0.5, 0.5, "too few complete trials", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(weights)[::-1]
    axes.barh(names, [weights[name] for name in names], color=COLOUR["complete"])
    axes.set(xlim=(0, 1))


def _schedules(axes: Any, spec: SweepSettings, trials: Trials) -> None:
    progress = np.linspace(0, 1, 101)
    for rank, (job, value) in enumerate(_best(spec, trials)[:TOP]):
        alpha = [softening(job.experiment.objective.schedule, float(p)) for p in progress]
        style = {"color": BEST, "lw": 2.5} if rank == 0 else {"color": COLOUR["complete"], "lw": 1}
        axes.plot(progress, alpha, label=f"{job.number}: {value:.3f}", **style)
    axes.set(xlabel="progress of training", ylabel="softening α", ylim=(-0.03, 1.03))
    axes.set(title=f"Softening of the best {TOP}")
    axes.legend(frameon=False, title="trial: " + spec.objectives[0].metric)


def _best(spec: SweepSettings, trials: Trials) -> list[tuple[Job, float]]:
    sign = -1 if spec.objectives[0].direction == "maximize" else 1
    found = [(job, _value(spec, job)) for job, outcome in trials if outcome == "complete"]
    kept = [(job, value) for job, value in found if value is not None]
    return sorted(kept, key=lambda pair: sign * pair[1])


def _parallel(axes: Any, spec: SweepSettings, trials: Trials) -> None:
    names = list(spec.space)
    best = _best(spec, trials)
    winner = best[0][0].name if best else ""
    for job, outcome in sorted(trials, key=lambda pair: (pair[1] == "complete", pair[0].number)):
        heights = [_height(spec, name, job.values.get(name)) for name in names]
        style: dict[str, Any] = {"color": COLOUR[outcome], "lw": 1.2, "alpha": 0.8}
        if job.name == winner:
            style = {"color": BEST, "lw": 3, "zorder": 5}
        axes.plot(range(len(names)), heights, marker=".", **style)
    for place, name in enumerate(names):
        axes.axvline(place, color="#d7dce3", lw=1, zorder=0)
        for height, label in _ticks(spec, name):
            axes.annotate(label, (place, height), fontsize=7, xytext=(4, 0), va="center",
                          textcoords="offset points")  # fmt: skip
    axes.set_xticks(range(len(names)), ["\n".join(n.rsplit(".", 1)) for n in names], fontsize=8)
    axes.set_yticks([])
    axes.set(title="What was drawn (orange: best)", xlim=(-0.2, len(names) - 0.4))


def _height(spec: SweepSettings, name: str, value: Any) -> float:
    """Where a value stands on its axis, 0..1; NaN (a gap in the line) where it was not drawn."""
    variable = spec.space[name]
    if value is None:
        return math.nan
    if not isinstance(variable, Float | Int):
        choices = list(variable.choices)
        return choices.index(value) / max(len(choices) - 1, 1)
    low, high = float(variable.low), float(variable.high)
    if variable.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _ticks(spec: SweepSettings, name: str) -> list[tuple[float, str]]:
    variable = spec.space[name]
    values = (
        [variable.low, variable.high]
        if isinstance(variable, Float | Int)
        else list(variable.choices)
    )
    return [(_height(spec, name, v), f"{v:g}" if isinstance(v, float) else str(v)) for v in values]


def winning_overrides(base: dict[str, Any], job: Job) -> list[str]:
    """Return what turns the base experiment into a trial's, as ``key=value`` words."""
    plain = flatten(base)
    chosen = flatten(job.experiment.model_dump(mode="json"))
    return [
        f"{key}={json.dumps(value)}"
        for key, value in chosen.items()
        if key != "name" and plain.get(key) != value
    ]
