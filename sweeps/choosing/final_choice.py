"""The final choice of a sweep, as ``final.json`` holds it: the winner, and the test scores.

When a sweep is extended, its former choice becomes ``final-1.json``.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from c2vl.support.intervals import ends, interval
from c2vl.training.figures import describe
from sweeps.spec.sweep_folder import SweepFolder

Scores = dict[str, float]
WINNER, RANDOM, CAPTIONS, JOINTS = "winner", "random", "captions", "joints"
ROWS = {  # of the table of test scores
    WINNER: "winner",
    "base": "base experiment",
    "hard": "winner with hard targets",
    "supervised": "supervised, same budget",
    "skeletonclr": "SkeletonCLR, same budget",
    "aimclr": "AimCLR, same budget",
    "masked_motion": "masked motion, same budget",
    RANDOM: "random encoder",
    CAPTIONS: "captions alone",
    JOINTS: "raw joints",
}
COLUMNS = {"linear": "linear", "linear_sgd": "linear, SGD", "knn1": "1-NN", "knn20": "20-NN"}
NO_SEED = "-"


def row_title(who: str) -> str:
    """Return how the table calls a row; a variant, or an objective of one's own, by its name."""
    return ROWS.get(who, who)


@dataclass(frozen=True)
class FinalChoice:
    """Who won, and the scores on the test part.

    Attributes:
        name: of the sweep.
        data: dataset and split, for titles.
        metric: the metric on validation that decided the choice.
        trial: number of the winning trial.
        values: its values, drawn by the sampler.
        run: the run whose encoder is kept: of the winner's seeds the best on validation.
        folder: that run's folder, relative to the sweep's.
        validation: the metric of each of the winner's seeds, by run.
        candidate_values: the metric of each candidate's seeds, in their order, by the trial's
            number; one that a round eliminated has fewer.
        tied: trials that the cut to candidates, or a round, left out although they tie there with
            one that stayed.
        test: test scores by row of the table (a key of ``ROWS``, or what ``final.beside`` names),
            then by seed.
    """

    name: str
    data: str
    metric: str
    trial: int
    values: dict[str, Any]
    run: str
    folder: str
    validation: dict[str, float]
    candidate_values: dict[str, list[float]] = field(default_factory=dict)
    test: dict[str, dict[str, Scores]] = field(default_factory=dict)
    tied: list[int] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The title of the table of test scores, which names their data."""
        return f"{self.name}: {self.data}, test part, top-1 accuracy in %"

    def candidates(self) -> list[dict[str, str]]:
        """Return a row for each candidate: its mean over seeds on validation; the winner first."""
        rows = []
        several = any(len(values) > 1 for values in self.candidate_values.values())
        for trial, values in sorted(
            self.candidate_values.items(), key=lambda row: row[0] != str(self.trial)
        ):
            mean = f"{statistics.mean(values):.4f}"
            if not several:
                rows.append({"trial": trial, "seeds": "1", self.metric: mean})
                continue
            row = {"trial": trial, "seeds": str(len(values)), f"{self.metric}, mean": mean}
            rows.append(
                {**row, "95 % interval": interval(values, ".4f", top_of(self.metric)) or "–"}
            )
        return rows

    def table(self) -> list[dict[str, str]]:
        """Return the test scores as rows: mean, standard deviation and 95 % interval over seeds."""
        rows = []
        for who in self._in_order():
            by_seed = self.test[who]
            row = {
                "": row_title(who),
                "seeds": NO_SEED if NO_SEED in by_seed else str(len(by_seed)),
            }
            for key, label in COLUMNS.items():
                row[label] = _spread([100 * f[key] for f in by_seed.values() if key in f])
            rows.append(row)
        return rows

    def differences(self) -> list[dict[str, str]]:
        """Return each row's mean difference to the winner, paired by seed, with its interval."""
        rows = []
        for who in (who for who in self._in_order() if who != WINNER):
            apart = {key: self.apart(who, key) for key in COLUMNS}
            if (pairs := max(map(len, apart.values()))) < 2:
                continue
            row = {"": row_title(who), "pairs": str(pairs)}
            for key, label in COLUMNS.items():
                row[label] = f"{statistics.mean(apart[key]):+.1f}" if apart[key] else "–"
                if ends_of_differences(apart[key]):
                    row[label] += f" ({interval(apart[key], '+.1f')})"
            rows.append(row)
        return rows

    def apart(self, who: str, key: str) -> list[float]:
        """Return how many points a row is above the winner, of each seed that both have."""
        own = self.test.get(WINNER, {})
        return [
            100 * (scores[key] - own[seed][key])
            for seed, scores in self.test[who].items()
            if key in scores and key in own.get(seed, {})
        ]

    def _in_order(self) -> list[str]:
        return [who for who in dict.fromkeys([*ROWS, *self.test]) if who in self.test]

    def test_means(self) -> Scores:
        """Return test scores, means over seeds: ``linear`` of the winner, ``random/linear`` …"""
        found: Scores = {}
        for who, by_seed in self.test.items():
            prefix = "" if who == WINNER else f"{who}/"
            for key in COLUMNS:
                if values := [scores[key] for scores in by_seed.values() if key in scores]:
                    found[prefix + key] = statistics.mean(values)
        return found


def top_of(metric: str) -> float:
    """Return the highest value that a figure can have: 1 of a share, infinity of others."""
    return 1.0 if describe(metric).unit == "share" else math.inf


def ends_of_differences(points: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean difference; None where it is not known.

    A few that are the same by chance have no spread, and would be told apart for certain: it is
    not known either, unless all are 0.
    """
    if len(points) > 1 and any(points) and statistics.stdev(points) < 1e-9:
        return None
    return ends(points)


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.1f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.1f} ({interval(values, '.1f', 100.0)})"


def write_choice(folder: SweepFolder, final: FinalChoice) -> None:
    """Write ``final.json`` into a sweep's folder."""
    write_text(folder.final, json.dumps(asdict(final), indent=1))
    folder.send()  # and what the scores were made from


def read_choice(folder: SweepFolder) -> FinalChoice | None:
    """Read ``final.json`` of a sweep's folder; None while there is none.

    Raises:
        UserError: it is damaged.
    """
    return _read(folder.final) if folder.final.exists() else None


def former_winners(folder: SweepFolder) -> set[int]:
    """Return the numbers of the trials that won before an extension, and may win again."""
    return {final.trial for final in former_choices(folder)}


def former_scores(folder: SweepFolder, trial: int) -> dict[str, dict[str, Scores]]:
    """Return the test scores of a trial that won before an extension; none is computed again."""
    scores: dict[str, dict[str, Scores]] = {}
    for final in former_choices(folder):
        if final.trial == trial:
            for who, by_seed in final.test.items():
                scores.setdefault(who, {}).update(by_seed)
    return scores


def former_choices(folder: SweepFolder) -> list[FinalChoice]:
    """Return the choices from before each extension, the oldest first."""
    return [_read(path) for path in folder.former_finals]


def _read(path: Path) -> FinalChoice:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if "judged" in found:  # as earlier versions called it
            found["candidate_values"] = found.pop("judged")
        return FinalChoice(**found)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: is damaged ({error}); remove it, and `c2vl-sweep resume` chooses anew"
        ) from None
