"""Checks of a sweep's settings against each other; they need nothing but the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.config.reading import alternatives, flatten, from_dict, override, setting_names
from c2vl.registry import names
from c2vl.support.errors import UserError, did_you_mean
from c2vl.training import figures
from sweeps.spec.capabilities import check_pruner, check_sampler
from sweeps.spec.constraints import impossible
from sweeps.spec.space import (
    Categorical,
    Float,
    Int,
    RandomDraws,
    Variant,
    draw,
    experiment,
    holds,
    order,
)
from sweeps.spec.sweep import UNTRAINED, SweepSettings

FIXED = {
    "imports": "every trial imports what the base imports",
    "name": "trials get their names from the sweep",
    "train.workers": "every trial takes the same resources",
    "train.cpus_per_worker": "every trial takes the same resources",
    "train.gpus_per_worker": "every trial takes the same resources",
    "data.split": "figures of two splits cannot be ranked",
    "data.validation_by": "every trial is judged by the same folds",
    "data.validation_folds": "every trial is judged by the same folds",
    "data.pretrain_on_validation": "it decides which folds a trial is judged by",
}
# A variant is judged on the test part alone, where what its folds were decides nothing
OF_VARIANTS = FIXED.keys() - {"data.pretrain_on_validation"} | {"seed"}
RESERVED = ("winner", "random", "base", "hard", *UNTRAINED)  # rows of the test table
DRAWS = 100
# Names that MLflow takes as a tag of the trials' runs (drawn.NAME)
FREE = re.compile(r"(?!.{200})\w[\w.: -]*(/\w[\w.: -]*)*")


def check(spec: SweepSettings, *, begun: bool = False) -> SweepSettings:
    """Return the sweep, with a grid's number of trials filled in.

    Args:
        begun: the sweep may have begun, with an earlier version: its space and its variants, which
            it keeps, are not judged again.

    Raises:
        UserError: the first problem, with its field and a remedy.
    """
    spec.rules  # noqa: B018  parsed first: a mistake in one is not that of a draw
    _check_names(spec)
    order(spec.space)
    _check_objectives(spec)
    if spec.autoscaling and spec.concurrency is None:
        raise UserError("autoscaling: say how far the cluster may be asked to grow: concurrency=N")
    _check_points(spec)
    _check_budget(spec)
    _check_keep(spec)
    if isinstance(spec.storage, str) and not spec.base.train.reuse_workers:
        raise UserError(
            "train.reuse_workers: Ray Train's documented trainer needs a folder that all nodes "
            f"share, and storage is {spec.storage}; leave it true"
        )
    _check_repeats(spec)
    check_pruner(spec)
    spec = check_sampler(spec)
    if not begun:
        _check_fixed(spec)
        check_draws(spec, DRAWS)
    return spec


def _check_repeats(spec: SweepSettings) -> None:
    if spec.repeats == 1:
        return
    if "seed" in spec.space:
        raise UserError("repeats: gives a trial its seeds; take space.seed out, or repeats")
    if len(spec.objectives) > 1:
        raise UserError("repeats: which of several objectives decides? Keep one objective")
    if (seeds := len({spec.base.seed, *spec.final.seeds})) < spec.repeats:
        raise UserError(
            f"repeats: {spec.repeats} seeds of a trial, and final.seeds with the base's own gives "
            f"{seeds}; say final.seeds: {list(range(spec.repeats))}"
        )
    if spec.keep.encoders != "all":
        raise UserError(
            "keep.encoders: with repeats a trial's rank changes with each seed; keep them all"
        )


def _check_keep(spec: SweepSettings) -> None:
    kept, needed = spec.keep.encoders, spec.final.candidates
    if kept != "all" and kept < needed:
        raise UserError(
            f"keep.encoders: {kept} asked, and final.candidates needs the {needed} best; keep as "
            "many at least"
        )


def _known(spec: SweepSettings) -> dict[str, Any]:
    """Every setting of the parts that the base or the space names."""
    base = spec.base.model_dump(mode="json")
    found = setting_names(base)
    for key in alternatives(Experiment, base):
        for name in _drawn(spec, key):
            found |= setting_names(override(base, {key: name}))
    return found


def _drawn(spec: SweepSettings, key: str) -> list[Any]:
    """What the space may set a setting to, by a categorical or by variants."""
    variable = spec.space.get(key)
    found = list(variable.choices) if isinstance(variable, Categorical) else []
    for variable in spec.space.values():
        if isinstance(variable, Variant):
            bundles = map(flatten, variable.choices.values())
            found += [bundle[key] for bundle in bundles if key in bundle]
    return found


def _check_names(spec: SweepSettings) -> None:
    known = _known(spec)
    for name, variable in spec.space.items():
        if isinstance(variable, Variant):
            if name in known:
                raise UserError(
                    f"space.{name}: a variant needs a name of its own, not that of a setting"
                )
            if not FREE.fullmatch(name):
                raise UserError(
                    f"space.{name}: MLflow takes no such name for what was drawn; choose one of "
                    "letters, digits, spaces and _ . : - /, that begins with a letter"
                )
            for label, changes in variable.choices.items():
                for key in flatten(changes):
                    _check_setting(key, f"space.{name}.choices.{label}.{key}", known)
        else:
            _check_setting(name, f"space.{name}", known)
    taken: dict[str, str] = {}
    for name, variable in spec.space.items():
        for key in _sets(name, variable):
            if key in taken and not variable.when:
                raise UserError(f"space: {key} is set by {taken[key]} and by {name}")
            taken[key] = name


def _sets(name: str, variable: Any) -> set[str]:
    """Return the settings that a variable sets."""
    if not isinstance(variable, Variant):
        return {name}
    return {key for changes in variable.choices.values() for key in flatten(changes)}


def _check_setting(name: str, where: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise UserError(f"{where}: no such setting{did_you_mean(name, known)}")


def _check_fixed(spec: SweepSettings) -> None:
    """Refuse what all trials of a sweep, and what stands beside them, have in common."""
    for name, variable in spec.space.items():
        bundles = variable.choices if isinstance(variable, Variant) else {}
        where = {name: f"space.{name}"} | {
            key: f"space.{name}.choices.{label}.{key}"
            for label, changes in bundles.items()
            for key in flatten(changes)
        }
        if found := next((key for key in where if key in FIXED), None):
            raise UserError(f"{where[found]}: cannot be searched; {FIXED[found]}")
    for who, changes in spec.final.variants.items():
        if found := next((key for key in flatten(changes) if key in OF_VARIANTS), None):
            raise UserError(
                f"final.variants.{who}.{found}: cannot be changed; a variant is trained and scored "
                "as the winner is, with its split, seeds and resources; leave it out"
            )


def _check_objectives(spec: SweepSettings) -> None:
    for objective in spec.objectives:
        if objective.metric not in figures.names():
            near = did_you_mean(objective.metric, figures.names())
            raise UserError(f'objectives: no figure "{objective.metric}"{near}')
    searched = {key for name, variable in spec.space.items() for key in _sets(name, variable)}
    _check_reported(spec, spec.base, " in the base; {}, or choose another figure", searched)
    for who in spec.final.variants:
        if who in RESERVED or who in names("objective"):
            raise UserError(f"final.variants: {who} is taken; choose another name")
        if who not in spec.final.beside:
            raise UserError(f"final.variants: {who} does not stand in final.beside; add it there")
    for who in spec.final.trained:
        if who == "base":
            continue
        try:
            from_dict(override(spec.base.model_dump(mode="json"), spec.final.changes(who)))
        except UserError as error:
            raise UserError(f"final.beside: {who}: {error}") from None
    if "captions" in spec.final.beside and spec.base.prompts.language is None:
        raise UserError("final.beside: captions needs prompts.language in the base; leave it out")
    if spec.final.rounds and min(len(spec.final.seeds), spec.final.candidates) < 2:
        raise UserError("final.rounds: needs two final.seeds and two final.candidates, or more")
    if len({o.metric for o in spec.objectives}) < len(spec.objectives):
        raise UserError("objectives: a metric stands there twice")


def _check_reported(
    spec: SweepSettings, settings: Experiment, remedy: str = "", searched: Set[str] = frozenset()
) -> None:
    """Refuse objectives and constraints on figures that a training does not report."""
    named = [("objectives", objective.metric) for objective in spec.objectives]
    named += [("constraints", name) for rule in spec.rules for name in sorted(rule.figures)]
    for where, name in named:
        lacking = figures.lacking(name, settings)
        if lacking and not lacking.keys() & searched:
            key, value = next(iter(lacking.items()))
            is_off, how = ("false", "set it to true") if value is False else ("0", "raise it")
            off = f"{name} is never reported, since {key} is {is_off}"
            raise UserError(f"{where}: {off}{remedy.format(how)}")


def _check_points(spec: SweepSettings) -> None:
    for index, point in enumerate(spec.points):
        for name, value in point.items():
            if name not in spec.space:
                near = did_you_mean(name, spec.space)
                raise UserError(f"points[{index}]: {name} is not searched{near}")
            if not holds(spec.space, name, value):
                where = f"points[{index}].{name}: {value!r} is outside of its range"
                raise UserError(where + _steps(spec.space[name]))
    if len(spec.points) > spec.trials:
        raise UserError(f"points: {len(spec.points)} of them, but trials is {spec.trials}")


def _steps(variable: Any) -> str:
    if isinstance(variable, Float | Int) and variable.step is not None:
        return f", or between its steps of {variable.step:g} from {variable.low:g} on"
    return ""


def _check_budget(spec: SweepSettings) -> None:
    if spec.max_gpu_hours is not None and not spec.base.train.gpus_per_worker:
        raise UserError(
            "max_gpu_hours: a trial takes no GPU (train.gpus_per_worker is 0); use max_cpu_hours"
        )


def check_draws(spec: SweepSettings, draws: int) -> None:
    """Build the experiments of ``draws`` random draws from the space, and what stands beside them.

    Raises:
        UserError: a draw makes no valid experiment, or what stands beside a winner does not fit it,
            or every draw breaks a constraint.
    """
    reasons = []
    for seed in range(draws):
        values = draw(spec.space, RandomDraws(seed))
        try:
            drawn = experiment(spec.base, spec.space, values)
            if drawn.objective.uses_labels and not spec.base.objective.uses_labels:
                raise UserError(
                    f"objective.name: {drawn.objective.name} cannot be searched; it is a reference "
                    "(final.beside), not a way to train without labels"
                )
            reason = impossible(spec.rules, drawn)
            if not reason:
                _check_reported(spec, drawn)
            reasons.append(reason)
        except UserError as error:
            raise UserError(
                f"space: a draw from it makes no valid experiment.\n  draw: {values}\n  {error}\n"
                "  Narrow the range, add a `when`, or change the base."
            ) from None
        if not reason:
            _check_beside(spec, drawn, values)
    if all(reasons):
        raise UserError(f"{reasons[0]} in any of {draws} draws from the space; widen it")


def _check_beside(spec: SweepSettings, drawn: Experiment, values: Mapping[str, Any]) -> None:
    """See that each row of the test table could be trained if this draw won."""
    settings = drawn.model_dump(mode="json")
    for who in spec.final.trained:
        if who == "base":
            continue
        try:
            from_dict(override(settings, spec.final.changes(who)))
        except UserError as error:
            raise UserError(
                f"final.beside: {who} does not fit a draw that may win.\n  draw: {values}\n"
                f"  {error}\n  Leave {who} out, or the values of the space that it does not fit."
            ) from None


def data_needs(spec: SweepSettings) -> list[Experiment]:
    """Return experiments of the space and of variants that read different data, the base first."""
    found = {_reads(spec.base): spec.base}
    drawn = [
        experiment(spec.base, spec.space, draw(spec.space, RandomDraws(seed)))
        for seed in range(DRAWS)
    ]
    base = spec.base.model_dump(mode="json")
    drawn += [from_dict(override(base, changes)) for changes in spec.final.variants.values()]
    for one in drawn:
        found.setdefault(_reads(one), one)
    return list(found.values())


def _reads(settings: Experiment) -> tuple[object, ...]:
    return settings.data.store, *settings.concept_tables().items()
