"""All pictures of the page, with their titles and notes, by the part of it that they stand in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import matplotlib
from markupsafe import Markup

from sweeps.report import choice_pictures, search_pictures, space_pictures
from sweeps.report.contour import contour, pair
from sweeps.report.costs import Costs
from sweeps.report.importance import Importances, importances, mattered
from sweeps.report.parallel import AXES, parallel
from sweeps.report.svg import STYLE, blank, inline
from sweeps.report.trials import Trials
from sweeps.report.winner import CandidateSummary
from sweeps.search.label_free_ranking import FEWEST
from sweeps.search.rank_correlation import rank_correlation

HALF, FULL, SMALL = (560, 330), (1160, 400), (300, 230)  # pixels
RULES = {
    "asha": "ASHA: about one in {} goes on at each rung. ",
    "hyperband": "Hyperband: each bracket has its first rung, then the next ones. ",
    "none": "Nothing was to be stopped. ",
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page: its identifier, its title, what to know about it, and the drawing."""

    key: str
    title: str
    note: str
    svg: Markup
    wide: bool = False


def gallery(
    trials: Trials, spent: Costs, candidates: Sequence[CandidateSummary]
) -> dict[str, list[Picture]]:
    """Draw all pictures.

    Args:
        spent: time in training.
        candidates: the best trials over their seeds.
    """
    parts = ("search", "space", "slices", "cost")
    with matplotlib.rc_context(STYLE):
        found: dict[str, list[Picture]] = {part: [] for part in parts}
        if trials.all:
            found["search"] = _search(trials)
            found["space"], found["slices"] = _space(trials)
            found["cost"] = _cost(spent)
        return {
            **found,
            "seeds": _choice(trials, candidates),
            "agreement": _agreement(trials),
        }


def _picture(
    key: str,
    title: str,
    note: str,
    draw: Callable[..., str | None],
    *words: Any,
    size: tuple[int, int] = HALF,
) -> Picture:
    """Call ``draw`` with axes of this size and ``words``; a note that it returns is the note."""
    figure = blank(*size)
    said = draw(figure.subplots(), *words)
    return Picture(key, title, said or note, inline(figure, f"{title} ({key})"), size == FULL)


def _search(trials: Trials) -> list[Picture]:
    objectives, made = trials.spec.objectives, []
    if len(objectives) == 1:
        note = "Each trial where it ended; a hollow dot was stopped early, a cross failed."
        made.append(_picture("history", "History", note, search_pictures.history, trials))
    pairs = sorted(combinations(range(len(objectives)), 2), key=lambda pair: pair[1])
    for i, j in pairs[:3]:
        title = f"Front: {objectives[i].metric} and {objectives[j].metric}"
        note = "Complete trials; orange: no other is better in all objectives."
        made.append(_picture(f"front-{i}-{j}", title, note, search_pictures.front, trials, i, j))
    title, note = "Rungs: who was stopped where", _rungs_note(trials)
    made.append(_picture("rungs", title, note, search_pictures.rungs, trials))
    for objective in objectives[:3]:
        key, title = f"curves-{objective.metric}", f"Learning curves: {objective.metric}"
        note = "Blue ran to the end, grey was stopped, red failed, orange is the winner."
        note += trials.crowd
        made.append(_picture(key, title, note, search_pictures.curves, trials, objective))
    if leading := search_pictures.leading(trials):
        title = f"Softening schedules of the best {len(leading)}"
        note = "How soft the contrast targets were, over training; orange is the winner."
        made.append(_picture("schedules", title, note, search_pictures.schedules, trials))
    return made


def _rungs_note(trials: Trials) -> str:
    epochs, pruner = search_pictures.rung_epochs(trials), trials.spec.pruner
    if not epochs:
        return "Trials still going, by epoch."
    rule = RULES.get(pruner.name, "").format(pruner.reduction)
    note = f"{rule}Filled went on, hollow was stopped there.{trials.crowd}"
    ended = [(dict(t.curve(trials.objective.metric)), t.value) for t in trials.complete]
    found = []
    for epoch in epochs[:-1]:
        correlation, count = rank_correlation(ended, epoch)
        if count >= FEWEST and math.isfinite(correlation):
            found.append(f"{correlation:.2f} at epoch {epoch} ({count} trials)")
    if not found:
        return note
    ranked = "Spearman's correlation of the value there with the final one"
    return f"{note} {ranked}: {', '.join(found)}."


def _space(trials: Trials) -> tuple[list[Picture], list[Picture]]:
    """Pictures of the whole space, and one slice a variable; the most important variables first."""
    spec, made = trials.spec, []
    records = [trial.record for trial in trials.complete]
    found = [importances(records, spec.space, place) for place in range(len(spec.objectives))]
    order = list(dict.fromkeys([*found[0].variables, *spec.space]))
    for objective, one in zip(spec.objectives, found, strict=True):
        if one.variables:
            key, title = f"importance-{objective.metric}", f"Importance for {objective.metric}"
            size = (560, max(180, 70 + 32 * len(one.variables)))
            made.append(_picture(key, title, _importance_note(one), space_pictures.importance, one,
                                 size=size))  # fmt: skip
    if (names := pair(spec.space, found[0])) is not None:
        title = " × ".join(space_pictures.short(name, order) for name in names)
        made.append(_picture("contour", title, "", contour, trials, names))
    note = "A line a trial; complete ones darker the better they did. "
    if len(order) > AXES:
        note += f"The {AXES} most important of {len(order)} variables."
    note += trials.crowd
    title = "Parallel coordinates"
    made.append(_picture("parallel", title, note, parallel, trials, order, size=FULL))
    drawn = {name for trial in trials.all for name in trial.drawn}
    return made, [
        _picture(f"slice-{name}", name, "", space_pictures.slice_of, trials, name, size=SMALL)
        for name in order
        if name in drawn
    ]


def _importance_note(found: Importances) -> str:
    note = mattered(found) + (
        f" fANOVA on bootstrap resamples of {found.trials} complete trials, bars at 90 %; what "
        "does not reach past the dashed line may be chance."
    )
    if any(variable.conditional for variable in found.variables.values()):
        note += " Pale: drawn in some trials only; the share is of those."
    return note


def _cost(spent: Costs) -> list[Picture]:
    if not spent.total:
        return []
    unit, each = spent.unit
    hours = {name: each * seconds / 3600 for name, seconds in spent.seconds.items()}
    note = "Time in training and validation, without start-up; saved: at each trial's own pace."
    return [_picture("spent", f"{unit} hours by outcome", note, search_pictures.cost, hours,
                     each * spent.saved / 3600, f"{unit} hours", size=(560, 220))]  # fmt: skip


def _choice(trials: Trials, candidates: Sequence[CandidateSummary]) -> list[Picture]:
    final, objective, made = trials.final, trials.objective, []
    if any(len(one.by_seed) > 1 for one in candidates):
        note = "A dot a seed, the bar their mean with its 95 % interval, cut where it leaves."
        size = (560, 90 + 40 * len(candidates))
        made.append(_picture("seeds", "Candidates over their seeds", note, choice_pictures.seeds,
                             candidates, objective, size=size))  # fmt: skip
    if final is not None and trials.spec.final.rounds and len(final.candidate_values) > 1:
        note = "One seed after another; the better half stays. Hollow: left behind there."
        made.append(_picture("rounds", "Rounds of the choice", note, choice_pictures.rounds,
                             final.candidate_values, final.trial, objective))  # fmt: skip
    return made


def _agreement(trials: Trials) -> list[Picture]:
    """What scores without labels would have chosen, against the first labelled figure."""
    return [
        _picture(f"agreement-{one.score}", one.score,
                 f"Spearman {one.correlation:.2f} ({one.interval}), "
                 f"n = {one.trials}",
                 choice_pictures.agreement, one, trials, size=SMALL)
        for one in trials.agreements
        if one.labelled == trials.agreements[0].labelled
    ]  # fmt: skip
