"""Optuna's samplers, and how each trial's sampler is seeded."""

from __future__ import annotations

import warnings
from typing import Any, assert_never

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.sweep import SamplerSettings

RANDOM_SHARE = 3
"""Where trials are pruned, one in so many is drawn at random (BOHB; Falkner et al., ICML 2018)."""


def sampler(
    settings: SamplerSettings, number: int, *, plain: bool = False, prunes: bool = False
) -> BaseSampler:
    """Return the sampler of one trial.

    Each trial has its own sampler, seeded by the sweep's seed and the trial's number: a proposal
    depends on these and on the earlier trials, not on restarts.

    Args:
        number: of the trial in the study.
        plain: a random draw, whatever the sweep's sampler.
        prunes: trials may be stopped early.
    """
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    startup = settings.startup_trials
    prunes = prunes and settings.name == "tpe"
    plain = plain or (prunes and number % RANDOM_SHARE == 0)
    if plain or settings.name == "random" or settings.name == "grid":  # its points are enqueued
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.name == "tpe":
            # Each variable by itself: the multivariate one, Optuna's default, draws the same few
            # points again and again, and loses to random search there (docs/searching.md).
            tpe = TPESampler(n_startup_trials=startup, multivariate=False, seed=seed)
            return OfCompleteTrials(tpe) if prunes else tpe
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


class OfCompleteTrials(BaseSampler):
    """TPE that learns from trials that ran to their end, and from those that run.

    Optuna's takes each pruned trial for worse than all complete ones. Successive halving stops two
    in three wherever they lie, and TPE then leaves the best region (docs/searching.md).
    """

    def __init__(self, tpe: TPESampler) -> None:
        self._tpe = tpe
        self._seen: optuna.Study | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: each variable is drawn by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing, likewise."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a variable of a trial."""
        if self._seen is None:
            states = (TrialState.COMPLETE, TrialState.RUNNING)
            known = study.get_trials(deepcopy=False, states=states)
            self._seen = optuna.create_study(directions=study.directions)
            self._seen.add_trials([one for one in known if one.number != trial.number])
        return self._tpe.sample_independent(self._seen, trial, param_name, param_distribution)
