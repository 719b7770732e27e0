"""Who proposes trials: Optuna's samplers, what each of them can do, and how they are seeded."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from c2vl.support.errors import UserError
from sweeps.spec.constraints import impossible
from sweeps.spec.space import Categorical, Variant, experiment, grid
from sweeps.spec.sweep import SweepSettings

# What a sampler cannot do, and which one can. Conditions: Optuna's samplers but TPE model what all
# trials have in common, and would draw the rest at random.
CONDITIONS = ("cmaes", "gp", "nsgaii", "sobol", "halton")
CHOICES = ("cmaes",)
SEVERAL_OBJECTIVES = ("cmaes",)
FIGURES = ("cmaes",)  # it would not learn from constraints on figures
TITLES = {
    "tpe": "TPE",
    "cmaes": "CMA-ES",
    "gp": "a Gaussian process",
    "nsgaii": "NSGA-II",
    "sobol": "a Sobol sequence",
    "halton": "a Halton sequence",
    "random": "random search",
    "grid": "a grid",
}


def check_sampler(spec: SweepSettings) -> SweepSettings:
    """Return the sweep with a grid's number of trials, after checking that the sampler fits.

    Raises:
        UserError: it cannot search this space by these objectives; the message names one that can.
    """
    name = spec.sampler.name
    title = TITLES[name]
    for key, variable in spec.space.items():
        if name in CHOICES and isinstance(variable, Categorical | Variant):
            raise UserError(f"space.{key}: {title} searches numbers alone; use sampler.name: tpe")
        if name in CONDITIONS and variable.when:
            raise UserError(
                f"space.{key}.when: {title} knows no conditions and would draw {key} at random; "
                "use sampler.name: tpe"
            )
    if name in SEVERAL_OBJECTIVES and len(spec.objectives) > 1:
        raise UserError(f"sampler.name: {title} has one objective; use tpe, gp or nsgaii")
    if name in FIGURES and any(c.figures for c in spec.rules):
        raise UserError(
            f"sampler.name: {title} does not learn from constraints on figures; "
            "use tpe, gp or nsgaii"
        )
    if name == "gp" and spec.pruner.name != "none":
        raise UserError(
            f"pruner.name: {title} learns from complete trials alone, and would propose one that "
            "was stopped again and again; set it to none, or use sampler.name: tpe"
        )
    if name == "cmaes" and len(spec.space) < 2:
        raise UserError(f"sampler.name: {title} needs two variables or more; use tpe")
    return _check_grid(spec) if name == "grid" else spec


def _check_grid(spec: SweepSettings) -> SweepSettings:
    if spec.points:
        raise UserError("points: a grid has its points already; leave them out")
    if spec.warm_start is not None:
        raise UserError("warm_start: a grid tries all of its points anyway; leave it out")
    count = len(grid_points(spec))
    if "trials" in spec.model_fields_set and spec.trials > count:
        raise UserError(f"trials: {spec.trials}, but the grid has {count} points; leave it out")
    if "trials" not in spec.model_fields_set:
        spec = spec.model_copy(update={"trials": count})
    return spec


def grid_points(spec: SweepSettings) -> list[dict[str, Any]]:
    """Return the points of a sweep's grid that its constraints on settings allow."""
    points = grid(spec.space)
    if not spec.rules:
        return points
    return [p for p in points if not impossible(spec.rules, experiment(spec.base, spec.space, p))]


def sampler(spec: SweepSettings, number: int, *, plain: bool = False) -> BaseSampler:
    """Return the sampler of one trial.

    Each trial has a sampler of its own, seeded by the sweep's seed and the trial's number: what is
    proposed depends on these and on the trials before, not on how often the sweep was restarted.

    Args:
        spec: the sweep.
        number: of the trial in the study.
        plain: a random draw, whatever the sweep's sampler.
    """
    settings = spec.sampler
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    startup = settings.startup_trials
    if plain:
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.name == "tpe":
            # group: conditional variables are modelled apart, as Optuna advises for them
            return optuna.samplers.TPESampler(
                n_startup_trials=startup, multivariate=True, group=True, seed=seed
            )
        if settings.name == "cmaes":
            return optuna.samplers.CmaEsSampler(
                n_startup_trials=startup, seed=seed, warn_independent_sampling=False
            )
        if settings.name == "gp":
            return optuna.samplers.GPSampler(n_startup_trials=startup, seed=seed)
        if settings.name == "nsgaii":
            return optuna.samplers.NSGAIISampler(population_size=settings.population, seed=seed)
        if settings.name in ("sobol", "halton"):
            # One sequence for all trials: its place in it is kept in the study.
            return optuna.samplers.QMCSampler(
                qmc_type=settings.name,
                scramble=True,
                seed=settings.seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_independent_sampling=False,
            )
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are all enqueued
