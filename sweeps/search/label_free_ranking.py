"""How well figures that need no labels ranked the trials: could they have chosen alone?

Spearman's rank correlation of each label-free score with each labelled one over a sweep's complete
trials, with a bootstrap interval over trials, and the regret: what choosing by the score would have
cost on the labelled one. All are validation figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2vl.training.figures import FIGURES
from sweeps.search.rank_correlation import spearman

SCORES = {one.name: one.sign for one in FIGURES if one.labels is False and not one.over}
LABELLED = [one.name for one in FIGURES if one.labels]
FEWEST = 4  # trials, below which a correlation says nothing
RESAMPLES, DRAWN = 2000, 400_000  # fewer resamples of many trials: so many trials in all


@dataclass(frozen=True)
class Agreement:
    """One label-free score against one labelled figure.

    Attributes:
        score: the label-free one.
        labelled: the labelled one.
        trials: how many have both.
        correlation: Spearman's, of better with better: 1 is the same order. NaN where one of the
            two is the same for all trials.
        low: end of the 95 % percentile interval of the bootstrap over trials. NaN where all draws
            of trials agree, as in a perfect order: they cannot tell how sure it is.
        high: its other end.
        chosen: number of the trial that the score would have chosen.
        regret: how much less that trial has on ``labelled`` than the best one (0..1).
    """

    score: str
    labelled: str
    trials: int
    correlation: float
    low: float
    high: float
    chosen: int
    regret: float

    @property
    def sign(self) -> int:
        """1 where more of the score is better, else -1."""
        return SCORES[self.score]

    @property
    def interval(self) -> str:
        """The interval in words."""
        return "–" if math.isnan(self.low) else f"{self.low:.2f} to {self.high:.2f}"

    def row(self) -> dict[str, str]:
        """As a line of a table."""
        return {
            "label-free": self.score,
            "labelled": self.labelled,
            "trials": str(self.trials),
            "Spearman": f"{self.correlation:.2f}",
            "95 % interval": self.interval,
            "it would choose": str(self.chosen),
            "points lost": f"{100 * self.regret:.1f}",
        }


def agreements(complete: Mapping[int, Mapping[str, float | None]]) -> list[Agreement]:
    """Compare each label-free score with each labelled one; pairs of too few trials are left out.

    Args:
        complete: the last figures of each complete trial, by its number.
    """
    found = []
    for labelled in LABELLED:
        for score, sign in SCORES.items():
            both = {
                number: [figures[score], figures[labelled]]
                for number, figures in sorted(complete.items())
                if figures.get(score) is not None and figures.get(labelled) is not None
            }
            if len(both) >= FEWEST:
                pairs = np.array(list(both.values()), dtype=float) * [sign, 1]
                found.append(_agreement(score, labelled, list(both), pairs))
    return found


def _agreement(
    score: str, labelled: str, numbers: list[int], pairs: NDArray[np.float64]
) -> Agreement:
    chosen = int(pairs[:, 0].argmax())
    regret = float(pairs[:, 1].max() - pairs[chosen, 1])
    rho = float(spearman(pairs[None, :, 0], pairs[None, :, 1])[0])
    count = len(pairs)
    resamples = min(RESAMPLES, DRAWN // count + 1)
    drawn = np.random.default_rng(0).integers(count, size=(resamples, count))
    resampled = spearman(pairs[drawn, 0], pairs[drawn, 1])
    resampled = resampled[np.isfinite(resampled)]
    low = high = math.nan
    if len(resampled) and np.ptp(resampled) > 1e-9:
        low, high = np.percentile(resampled, [2.5, 97.5])
    return Agreement(score, labelled, count, rho, float(low), float(high), numbers[chosen], regret)
