"""How much of the objective's variance each variable explains, and how sure that is.

fANOVA (Hutter, Hoos, Leyton-Brown, ICML 2014) as Optuna has it, on bootstrap resamples of the
complete trials: with twenty trials a forest finds structure in anything. A random dummy
variable, added to the others, shows how much "importance" noise alone gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from sweeps.search.trial_record import TrialRecord
from sweeps.search.warm_start import distribution
from sweeps.spec.space import Space

FEWEST = 5  # complete trials; of fewer a forest cannot even be grown
RESAMPLES = 16
MOST = 100  # trials in a resample: fANOVA's time grows with their square
TREES = 8  # of each resample; twice as many give the same shares and noise
NOISE = "(noise)"


@dataclass(frozen=True)
class Importance:
    """A variable's share of the variance.

    Attributes:
        share: mean over the resamples, 0..1.
        low, high: 90 % bootstrap interval.
        trials: complete trials that drew it.
        conditional: only some trials drew it, and the share is of those.
    """

    share: float
    low: float
    high: float
    trials: int
    conditional: bool = False


@dataclass(frozen=True)
class Importances:
    """What mattered.

    Attributes:
        variables: by name, the most important first; empty with too few complete trials.
        noise: importance of a random dummy variable (95th percentile over the resamples).
        trials: complete trials.
    """

    variables: Mapping[str, Importance]
    noise: float
    trials: int


def importances(
    complete: Sequence[TrialRecord], space: Space, objective: int = 0, seed: int = 0
) -> Importances:
    """Return the importance of everything that was drawn.

    Variables that only some trials drew (conditional ones) are judged on those trials alone.

    Args:
        complete: trials that ran to their end.
        space: what they were drawn from.
        objective: which one, by place.
        seed: of the resamples; the same one gives the same figures.
    """
    trials = [trial for trial in complete if np.isfinite(trial.values[objective])]
    drawn: dict[str, int] = {}
    for trial in trials:
        for name in trial.drawn:
            drawn[name] = drawn.get(name, 0) + 1
    common = [name for name, count in drawn.items() if count == len(trials)]
    shares = _resampled(trials, space, common, objective, np.random.default_rng(seed))
    noise = [one[NOISE] for one in shares]
    found = {
        name: _interval([one[name] for one in shares], len(trials)) for name in common if noise
    }
    for name in drawn:
        if name in common:
            continue
        own = [trial for trial in trials if name in trial.drawn]
        shares = _resampled(own, space, [*common, name], objective, np.random.default_rng(seed))
        if shares:
            found[name] = _interval([one[name] for one in shares], len(own), conditional=True)
    ordered = sorted(found, key=lambda name: -found[name].share)
    level = float(np.percentile(noise, 95)) if noise else 0.0
    return Importances({name: found[name] for name in ordered}, level, len(trials))


def mattered(found: Importances) -> str:
    """Say which variables mattered, with 90 % intervals, or that none can be told from chance."""
    above = {name: one for name, one in found.variables.items() if one.low > found.noise}
    chance = f"a variable without meaning gets up to {100 * found.noise:.0f} %"
    if not above:
        return f"No setting can be told from chance: {chance} of the variance."
    told = [
        f"{name} ({100 * one.share:.0f} % of the variance, {100 * one.low:.0f} to "
        f"{100 * one.high:.0f})"
        for name, one in above.items()
    ]
    rest = [name for name in found.variables if name not in above]
    said = f"What mattered: {', '.join(told)}; {chance}."
    return f"{said} Not told from chance: {', '.join(rest)}." if rest else said


def _interval(shares: list[float], trials: int, conditional: bool = False) -> Importance:
    mean = float(np.mean(shares))
    low, high = np.percentile(shares, [5, 95])
    # Resamples smaller than the sample spread more widely than it does (m out of n bootstrap)
    shrink = np.sqrt(min(trials, MOST) / trials)
    low, high = mean - shrink * (mean - low), mean + shrink * (high - mean)
    return Importance(mean, float(max(low, 0)), float(min(high, 1)), trials, conditional)


def _resampled(
    trials: Sequence[TrialRecord],
    space: Space,
    names: list[str],
    objective: int,
    draw: np.random.Generator,
) -> list[dict[str, float]]:
    """Shares by variable, one a resample."""
    if len(trials) < FEWEST or not names:
        return []
    if len({trial.values[objective] for trial in trials}) < 2:
        return []
    noise = draw.random(len(trials))
    ranges = {**{name: distribution(space, name) for name in names}, NOISE: FloatDistribution(0, 1)}
    twins = [
        create_trial(
            params={**{name: trial.drawn[name] for name in names}, NOISE: float(noise[i])},
            distributions=ranges,
            value=trial.values[objective],
        )
        for i, trial in enumerate(trials)
    ]
    found = []
    for _ in range(RESAMPLES):
        chosen = draw.integers(len(twins), size=min(len(twins), MOST))
        own = [twins[i] for i in chosen]
        if len({trial.value for trial in own}) > 1:
            found.append(_fanova(own, int(draw.integers(2**31))))
    return found


def _fanova(trials: list[FrozenTrial], seed: int) -> dict[str, float]:
    from optuna.importance import FanovaImportanceEvaluator  # seconds, for its forests

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.add_trials(trials)
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
