"""Optuna's samplers, and how each trial's sampler is seeded."""

from __future__ import annotations

import warnings
from typing import assert_never

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from sweeps.spec.sweep import SamplerSettings


def sampler(settings: SamplerSettings, number: int, *, plain: bool = False) -> BaseSampler:
    """Return the sampler of one trial.

    Each trial has its own sampler, seeded by the sweep's seed and the trial's number: a proposal
    depends on these and on the earlier trials, not on restarts.

    Args:
        number: of the trial in the study.
        plain: a random draw, whatever the sweep's sampler.
    """
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    startup = settings.startup_trials
    if plain or settings.name == "random" or settings.name == "grid":  # its points are enqueued
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.name == "tpe":
            # Each variable by itself: the multivariate one, Optuna's default, draws the same few
            # points again and again, and loses to random search there (docs/searching.md).
            return optuna.samplers.TPESampler(
                n_startup_trials=startup, multivariate=False, seed=seed
            )
        if settings.name == "cmaes":
            return optuna.samplers.CmaEsSampler(
                n_startup_trials=startup, seed=seed, warn_independent_sampling=False
            )
        if settings.name == "gp":
            return optuna.samplers.GPSampler(n_startup_trials=startup, seed=seed)
        if settings.name == "nsgaii":
            return optuna.samplers.NSGAIISampler(population_size=settings.population, seed=seed)
        if settings.name == "sobol" or settings.name == "halton":
            # One sequence for all trials; the study keeps the place in it.
            return optuna.samplers.QMCSampler(
                qmc_type=settings.name,
                scramble=True,
                seed=settings.seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_independent_sampling=False,
            )
    assert_never(settings.name)
