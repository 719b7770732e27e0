"""How far a sweep could tell settings apart: its objective varies by setting, and by seed.

Told of the settings that were trained with two seeds or more: finalists, trials with `repeats`, and
trials that differ in their seed alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from c2vl.support.intervals import t_quantile
from sweeps.choosing.final_choice import FinalChoice, top_of
from sweeps.search.trial_record import TrialRecord
from sweeps.spec.sweep import SweepSettings

SEED = "seed"  # a setting like any other: a space may draw it


@dataclass(frozen=True)
class Reliability:
    """One-way random effects of settings, on values by seed.

    Attributes:
        settings: how many have two seeds or more.
        icc: intraclass correlation, ICC(1) of one value: the share of the variance that lies
            between settings; None of one setting, or where all values are the same.
        low, high: its 95 % interval by the exact F method (McGraw and Wong, Psychological Methods
            1996, table 7); with unequal numbers of seeds, by their ANOVA mean, it is approximate.
        within: pooled standard deviation over seeds.
        freedom: its degrees of freedom.
    """

    settings: int
    icc: float | None
    low: float
    high: float
    within: float
    freedom: int

    def difference(self, seeds: float) -> float:
        """Return the least significant difference of two settings with so many seeds, at 95 %."""
        return t_quantile(self.freedom) * self.within * math.sqrt(2 / seeds)


def reliability(values: Iterable[Sequence[float]]) -> Reliability | None:
    """Return how far values by seed tell settings apart; None without a repeated setting.

    Args:
        values: of each setting, one a seed; settings with one value are left out.
    """
    groups = [list(group) for group in values if len(group) > 1]
    if not groups:
        return None
    freedom = sum(map(len, groups)) - len(groups)
    within = sum(statistics.variance(group) * (len(group) - 1) for group in groups) / freedom
    icc, low, high = _correlation(groups, within, freedom)
    return Reliability(
        settings=len(groups),
        icc=icc,
        low=low,
        high=high,
        within=math.sqrt(within),
        freedom=freedom,
    )


def _correlation(
    groups: list[list[float]], within: float, freedom: int
) -> tuple[float | None, float, float]:
    """ICC(1) with the ends of its interval; ``within`` is the mean square of residuals."""
    total = sum(map(len, groups))
    if len(groups) < 2:
        return None, math.nan, math.nan
    grand = sum(map(sum, groups)) / total
    square = sum(len(one) * (statistics.mean(one) - grand) ** 2 for one in groups)
    between = square / (len(groups) - 1)
    seeds = (total - sum(len(one) ** 2 for one in groups) / total) / (len(groups) - 1)
    if within == 0:
        return (1.0, 1.0, 1.0) if between > 0 else (None, math.nan, math.nan)
    from scipy.special import fdtri

    ratio, wanted = between / within, 0.975
    least = ratio / float(fdtri(len(groups) - 1, freedom, wanted))
    most = ratio * float(fdtri(freedom, len(groups) - 1, wanted))
    icc, low, high = ((one - 1) / (one + seeds - 1) for one in (ratio, least, most))
    return icc, low, high


def repeated(
    spec: SweepSettings, trials: Iterable[TrialRecord], final: FinalChoice | None
) -> list[tuple[list[float], int]]:
    """Return the first objective of each setting with two seeds or more, and how many it has.

    The same setting with the same seed gives the same value, which counts once.

    The first value of a finalist, or of a trial with repeats, is left out where two others remain:
    it is one of the highest of many, for which its setting was trained again, and no draw like the
    others. Of two it stays, so that the noise is told too high rather than not at all.

    Args:
        trials: that ran to their end.
    """
    best: dict[tuple[str, int], dict[int, float]] = {}  # a draw may come twice, seed and all
    for trial in trials:
        setting = repr(sorted(item for item in trial.drawn.items() if item[0] != SEED))
        own = int(trial.drawn.get(SEED, spec.base.seed))
        values = _by_seed(spec, trial, own, final)
        if len(values) > len(best.get((setting, own), {})):
            best[setting, own] = values
    found: dict[str, tuple[dict[int, float], set[int]]] = {}
    for (setting, own), values in best.items():
        known, seeds = found.setdefault(setting, ({}, set()))
        chosen_for = len(values) > 2 and (spec.repeats > 1 or own in spec.final.seeds)
        known.update((s, v) for s, v in values.items() if s != own or not chosen_for)
        seeds.update(values)
    return [(list(known.values()), len(seeds)) for known, seeds in found.values() if len(seeds) > 1]


def _by_seed(
    spec: SweepSettings, trial: TrialRecord, own: int, final: FinalChoice | None
) -> dict[int, float]:
    """Return a trial's first objective by seed; ``own`` is that of its first training."""
    judged = final.candidate_values.get(str(trial.number), []) if final is not None else []
    seeds = sorted(spec.final.seeds or [own], key=lambda seed: seed != own)  # as it was judged
    searched = {int(seed): value for seed, value in trial.by_seed.items()}
    return dict(zip(seeds, judged, strict=False)) | (searched or {own: trial.values[0]})


def told_apart(
    spec: SweepSettings, trials: Iterable[TrialRecord], final: FinalChoice | None
) -> list[str]:
    """Return in sentences how far the sweep could tell settings apart, by its first objective.

    Args:
        trials: that ran to their end.
        final: the choice, once there is one.
    """
    known = repeated(spec, trials, final)
    found = reliability(values for values, _ in known)
    if found is None:
        return [
            "How far this sweep could tell settings apart is not known: none was trained with a "
            "second seed. In the next one say final.seeds=[0,1,2] final.candidates=3, or more."
        ]
    metric = spec.objectives[0].metric
    share = top_of(metric) == 1.0

    def apart(seeds: float) -> str:
        value = found.difference(seeds)
        return f"{100 * value:.1f} points" if share else f"{value:.3g}"

    # A difference's variance goes with the mean of 1 / seeds
    seeds = statistics.harmonic_mean([seeds for _, seeds in known])
    sentence = (
        f"This sweep could tell settings apart by {apart(seeds)} of {metric} with {seeds:.2g} "
        f"seeds each, by {apart(1)} with one seed each, as the search ranks them (95 %)."
    )
    if found.icc is None:
        return [f"{sentence} That is from {found.settings} repeated, too few for a correlation."]
    return [
        f"{sentence} Intraclass correlation over {found.settings} settings with two seeds or more: "
        f"{found.icc:.2f} (95 % interval {found.low:.2f} to {found.high:.2f}); at 1 all of the "
        "variance lies between settings, at 0 it is all the seed's."
    ]
