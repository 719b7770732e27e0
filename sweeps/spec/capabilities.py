"""What each sampler and pruner can do, as data, and the check that a sweep asks for no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from c2vl.support.errors import UserError
from sweeps.spec.constraints import impossible
from sweeps.spec.space import Categorical, Variant, experiment, grid
from sweeps.spec.sweep import SweepSettings


@dataclass(frozen=True)
class Sampler:
    """What one of Optuna's samplers can do.

    Attributes:
        title: its name in messages.
        conditions: it models variables with a ``when``. Samplers other than TPE model what all
            trials have in common, and would draw the rest at random.
        choices: it searches categorical variables.
        objectives: it has several objectives.
        figures: it learns from constraints on figures.
        pruned: it learns from pruned trials.
        variables: how many it needs at least.
    """

    title: str
    conditions: bool = True
    choices: bool = True
    objectives: bool = True
    figures: bool = True
    pruned: bool = True
    variables: int = 1


SAMPLERS = {
    "tpe": Sampler("TPE"),
    "cmaes": Sampler(
        "CMA-ES", conditions=False, choices=False, objectives=False, figures=False, variables=2
    ),
    "gp": Sampler("a Gaussian process", conditions=False, pruned=False),
    "nsgaii": Sampler("NSGA-II", conditions=False),
    "sobol": Sampler("a Sobol sequence", conditions=False),
    "halton": Sampler("a Halton sequence", conditions=False),
    "random": Sampler("random search"),
    "grid": Sampler("a grid"),
}


def check_sampler(spec: SweepSettings) -> SweepSettings:
    """Return the sweep with a grid's number of trials, after checking that the sampler fits.

    Raises:
        UserError: it cannot search this space by these objectives; the message names one that can.
    """
    sampler = SAMPLERS[spec.sampler.name]
    title = sampler.title
    for key, variable in spec.space.items():
        if not sampler.choices and isinstance(variable, Categorical | Variant):
            raise UserError(f"space.{key}: {title} searches numbers alone; use sampler.name: tpe")
        if not sampler.conditions and variable.when:
            raise UserError(
                f"space.{key}.when: {title} knows no conditions and would draw {key} at random; "
                "use sampler.name: tpe"
            )
    if not sampler.objectives and len(spec.objectives) > 1:
        raise UserError(f"sampler.name: {title} has one objective; use tpe, gp or nsgaii")
    if not sampler.figures and any(rule.figures for rule in spec.rules):
        raise UserError(
            f"sampler.name: {title} does not learn from constraints on figures; "
            "use tpe, gp or nsgaii"
        )
    if not sampler.pruned and spec.pruner.name != "none":
        raise UserError(
            f"pruner.name: {title} learns from complete trials alone, and would propose one that "
            "was stopped again and again; set it to none, or use sampler.name: tpe"
        )
    if len(spec.space) < sampler.variables:
        raise UserError(f"sampler.name: {title} needs two variables or more; use tpe")
    return _check_grid(spec) if spec.sampler.name == "grid" else spec


def _check_grid(spec: SweepSettings) -> SweepSettings:
    if spec.points:
        raise UserError("points: a grid has its points already; leave them out")
    if spec.warm_start is not None:
        raise UserError("warm_start: a grid tries all of its points anyway; leave it out")
    count = len(grid_points(spec))
    if "trials" not in spec.model_fields_set:
        return spec.model_copy(update={"trials": count})
    if spec.trials > count:
        raise UserError(f"trials: {spec.trials}, but the grid has {count} points; leave it out")
    return spec


def grid_points(spec: SweepSettings) -> list[dict[str, Any]]:
    """Return the points of a sweep's grid that its constraints on settings allow."""
    points = grid(spec.space)
    if not spec.rules:
        return points
    return [p for p in points if not impossible(spec.rules, experiment(spec.base, spec.space, p))]


def check_pruner(spec: SweepSettings) -> None:
    """Check that the pruner fits the objectives and the length of training.

    Raises:
        UserError: it does not.
    """
    settings, epochs = spec.pruner, spec.max_epochs
    if settings.name == "none":
        return
    if len(spec.objectives) > 1:
        raise UserError(
            "pruner.name: several objectives cannot be pruned by (which one would decide?); "
            "set it to none, or keep one objective"
        )
    if settings.name == "hyperband" and settings.min_epochs * settings.reduction > epochs:
        raise UserError(
            f"pruner: Hyperband needs min_epochs × reduction of at most {epochs} epochs, or it has "
            "one bracket alone; lower pruner.min_epochs, or use asha"
        )
