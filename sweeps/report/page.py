"""The report as one HTML page, which opens without a server or a network.

All text reaches the page through a template that escapes it, or as JSON that the script writes
with ``textContent``: names and descriptions are somebody else's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import matplotlib
import optuna
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from c2vl.config.reading import dump
from c2vl.training.run_folder import RunFolder
from sweeps.choosing.finals import Final
from sweeps.report import choice_pictures as judging
from sweeps.report import search_pictures as figures
from sweeps.report import space_pictures as landscape
from sweeps.report.about import about, steps
from sweeps.report.importance import Importances, importances
from sweeps.report.overview import winner_number
from sweeps.report.svg import STYLE, blank, inline
from sweeps.report.tables import OUTCOMES
from sweeps.report.test_tables import protocol_tables
from sweeps.report.trials import Trials
from sweeps.report.winner import Judged, judged, winning_job
from sweeps.search.label_free_ranking import FEWEST
from sweeps.search.rank_correlation import rank_correlation
from sweeps.search.study import StudyReader
from sweeps.spec.reading import public_dump

AFTER = "after the search"
HALF, FULL, SMALL = (560, 330), (1160, 400), (300, 230)


@dataclass(frozen=True)
class Picture:
    """A figure of the page: its name, what to know about it, and the drawing."""

    key: str
    title: str
    note: str
    svg: Markup
    wide: bool = False


def page(trials: Trials, study: optuna.Study, final: Final | None) -> str:
    """Return the page.

    Args:
        trials: all that have ended.
        study: for what is still running, and for importances.
        final: the choice and its test figures, once there are any.
    """
    spec = trials.spec
    counts = StudyReader(spec, study).counts()
    spent = costs(trials)
    winner = winner_number(trials, final)
    job = winning_job(trials, final)
    candidates = judged(trials, final)
    best = next((t for t in trials.complete if t.number == winner), None)
    context = {
        "spec": spec,
        "final": final,
        "counts": {name: counts[name] for name in (*OUTCOMES, "running")},
        "asked": spec.trials,
        "infeasible": len(trials.infeasible),
        "best": best,
        "judged": candidates,
        "spent": spent,
        "about": about(trials, study),
        "steps": steps(spec, job) if job else [],
        "winner_yaml": dump(job.experiment) if job else "",
        "sweep_yaml": public_dump(spec),
        "tables": protocol_tables(spec, final),
        "agreements": [one.row() for one in trials.agreements],
        "groups": _groups(trials, study, winner, spent)
        | _judging(trials, final, winner, candidates),
        "data": _data(trials),
        "number": number,
        "clock": clock,
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    folder = files("sweeps.report")
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    script = Markup((folder / "page.js").read_text(encoding="utf-8"))  # ours: nothing to escape
    style = Markup((folder / "page.css").read_text(encoding="utf-8"))
    return template.render(context, script=script, style=style)


@dataclass(frozen=True)
class Costs:
    """Training time, in seconds, and what it takes of the machine.

    Attributes:
        seconds: by outcome of the trials; AFTER for the trainings after the search.
        saved: what the stopped trials would have taken to their end, at their own pace.
        cpus, gpus: of one training.
    """

    seconds: dict[str, float]
    saved: float
    cpus: float
    gpus: float

    @property
    def total(self) -> float:
        """Seconds of all trainings."""
        return sum(self.seconds.values())


def costs(trials: Trials) -> Costs:
    """Add up what was spent."""
    spec = trials.spec
    seconds: dict[str, float] = {o: sum(t.seconds for t in trials.of(o)) for o in OUTCOMES}
    after = map(RunFolder, sorted(spec.folder.finals.glob("*")))
    seconds[AFTER] = sum(row.get("seconds", 0.0) for run in after for row in run.rows())
    saved = sum(
        t.seconds / t.epochs * max(t.job.experiment.train.epochs - t.epochs, 0)
        for t in trials.of("pruned")
        if t.epochs
    )
    train = spec.base.train
    cpus, gpus = train.cpus_per_worker * train.workers, train.gpus_per_worker * train.workers
    return Costs(seconds, saved, cpus, gpus)


def _groups(
    trials: Trials, study: optuna.Study, winner: int | None, spent: Costs
) -> dict[str, list[Picture]]:
    """Pictures of the search, by the part of the page that they stand in."""
    spec = trials.spec
    if not trials.all:
        return {"search": [], "space": [], "slices": [], "cost": []}
    found = [importances(study, place) for place in range(len(spec.objectives))]
    order = [*found[0].variables, *(n for n in spec.space if n not in found[0].variables)]
    with matplotlib.rc_context(STYLE):
        return {
            "search": _search(trials, winner),
            "space": _space(trials, found, order, winner),
            "slices": [
                _draw(f"slice-{name}", name, "", SMALL,
                      partial(landscape.slice_of, trials=trials, name=name, winner=winner))
                for name in order
                if any(name in trial.job.values for trial in trials.all)
            ],
            "cost": _cost(spent),
        }  # fmt: skip


def _draw(
    key: str, title: str, note: str, size: tuple[int, int], draw: Callable[[Any], Any]
) -> Picture:
    figure = blank(*size)
    said = draw(figure.subplots())
    return Picture(key, title, said or note, inline(figure, f"{title} ({key})"), size == FULL)


def _search(trials: Trials, winner: int | None) -> list[Picture]:
    spec = trials.spec
    made: list[Picture] = []
    if len(spec.objectives) == 1:
        note = "Each trial where it ended; a hollow dot was stopped early, a cross failed."
        made.append(_draw("history", "History", note, HALF,
                          partial(figures.history, trials=trials, winner=winner)))  # fmt: skip
    else:
        pairs = [(i, j) for j in range(len(spec.objectives)) for i in range(j)]
        for first, second in pairs[:3]:
            a, b = spec.objectives[first].metric, spec.objectives[second].metric
            note = "Complete trials; orange: no other is better in all objectives."
            made.append(_draw(f"front-{first}-{second}", f"Front: {a} and {b}", note, HALF,
                              partial(figures.front, trials=trials, winner=winner, first=first,
                                      second=second)))  # fmt: skip
    made.append(_draw("rungs", "Rungs: who was stopped where", _rungs_note(trials), HALF,
                      partial(figures.rungs, trials=trials, winner=winner)))  # fmt: skip
    for objective in spec.objectives[:3]:
        note = "Blue ran to the end, grey was stopped, red failed, orange is the winner."
        made.append(_draw(f"curves-{objective.metric}", f"Learning curves: {objective.metric}",
                          note, HALF, partial(figures.curves, trials=trials, winner=winner,
                                              objective=objective)))  # fmt: skip
    if trials.ranked:
        count = len(figures.leading(trials, winner))
        note = "How soft the contrast targets were, over training; orange is the winner."
        made.append(_draw("schedules", f"Softening schedules of the best {count}", note, HALF,
                          partial(figures.schedules, trials=trials, winner=winner)))  # fmt: skip
    return made


def _rungs_note(trials: Trials) -> str:
    spec = trials.spec
    if not figures.rung_epochs(trials):
        return "Trials still going, by epoch."
    rule = {
        "asha": f"ASHA: about one in {spec.pruner.reduction} goes on at each rung. ",
        "hyperband": "Hyperband: each bracket has its first rung, then the next ones. ",
        "none": "Nothing was to be stopped. ",
    }.get(spec.pruner.name, "")
    return rule + "Filled went on, hollow was stopped there." + _ranked(trials)


def _ranked(trials: Trials) -> str:
    """How well each rung ranked those that ran to their end, in words."""
    objective = trials.spec.objectives[0]
    ended = [(dict(t.curve(objective.metric)), t.value) for t in trials.complete]
    found = []
    for epoch in figures.rung_epochs(trials)[:-1]:
        correlation, count = rank_correlation(ended, epoch)
        if count >= FEWEST and math.isfinite(correlation):
            found.append(f"{correlation:.2f} at epoch {epoch} ({count} trials)")
    if not found:
        return ""
    return f" Spearman's correlation of the value there with the final one: {', '.join(found)}."


def _space(
    trials: Trials, found: list[Importances], order: list[str], winner: int | None
) -> list[Picture]:
    spec = trials.spec
    made = []
    for objective, one in zip(spec.objectives, found, strict=True):
        if not one.variables:
            continue
        note = (
            f"fANOVA on bootstrap resamples of {one.trials} complete trials, bars at 90 %; what "
            "does not reach past the dashed line may be chance."
        )
        if any(v.conditional for v in one.variables.values()):
            note += " Pale: drawn in some trials only, and judged on those."
        made.append(_draw(f"importance-{objective.metric}", f"Importance for {objective.metric}",
                          note, (560, max(180, 70 + 32 * len(one.variables))),
                          partial(landscape.importance, found=one)))  # fmt: skip
    if (names := landscape.pair(spec, found[0])) is not None:
        title = f"{landscape.short(names[0], order)} × {landscape.short(names[1], order)}"
        made.append(_draw("contour", title, "", HALF,
                          partial(landscape.contour, trials=trials, names=names,
                                  winner=winner)))  # fmt: skip
    note = "A line a trial; complete ones darker the better they did. "
    if len(order) > landscape.AXES:
        note += f"The {landscape.AXES} most important of {len(order)} variables."
    made.append(_draw("parallel", "Parallel coordinates", note, FULL,
                      partial(landscape.parallel, trials=trials, order=order,
                              winner=winner)))  # fmt: skip
    return made


def _judging(
    trials: Trials,
    final: Final | None,
    winner: int | None,
    candidates: Sequence[Judged],
) -> dict[str, list[Picture]]:
    """Pictures of the choice, and of what scores without labels would have chosen."""
    spec, seeds, agreed = trials.spec, [], []
    with matplotlib.rc_context(STYLE):
        if any(len(one.by_seed) > 1 for one in candidates):
            note = "A dot a seed, the bar their mean with its 95 % interval, cut where it leaves."
            size = (560, 90 + 40 * len(candidates))
            seeds.append(_draw("seeds", "Candidates over their seeds", note, size,
                               partial(judging.seeds, judged=candidates, spec=spec)))  # fmt: skip
        if final is not None and spec.final.rounds and len(final.judged) > 1:
            note = "One seed after another; the better half stays. Hollow: left behind there."
            seeds.append(_draw("rounds", "Rounds of the choice", note, HALF,
                               partial(judging.rounds, final=final, spec=spec)))  # fmt: skip
        for one in trials.agreements:
            if one.labelled == trials.agreements[0].labelled:
                note = f"Spearman {one.correlation:.2f} ({one.low:.2f} to {one.high:.2f})"
                agreed.append(_draw(f"agreement-{one.score}", one.score, note, SMALL,
                                    partial(judging.agreement, one=one, trials=trials,
                                            winner=winner)))  # fmt: skip
    return {"seeds": seeds, "agreement": agreed}


def _cost(spent: Costs) -> list[Picture]:
    if not spent.total:
        return []
    unit, scale = ("GPU hours", spent.gpus) if spent.gpus else ("CPU hours", spent.cpus)
    hours = {name: scale * value / 3600 for name, value in spent.seconds.items()}
    note = "Time in training and validation, without start-up; saved: at each trial's own pace."
    saved = scale * spent.saved / 3600
    return [_draw("spent", f"{unit} by outcome", note, (560, 220),
                  partial(figures.cost, hours=hours, saved=saved, unit=unit))]  # fmt: skip


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
            *[trial.job.values.get(name) for name in spec.space],
        ]
        for trial in trials.all
    ]
    columns = ["trial", "outcome", *metrics, "epochs", "seconds", *spec.space]
    return {"name": spec.name, "columns": columns, "drawn": len(spec.space), "rows": rows}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def number(value: Any) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
