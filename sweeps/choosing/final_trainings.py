"""The trainings after the search: candidates with other seeds, and references for the winner.

The references in ``final.beside`` are trained with the winner's seeds and budget.
"""

from __future__ import annotations

from c2vl.config.reading import from_dict, override
from sweeps.choosing.final_choice import WINNER
from sweeps.search.study import retraining
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training

Ranked = list[tuple[Training, float]]  # complete trials with their value, best first


def seeded(spec: SweepSettings, trial: Training, who: str = WINNER) -> list[Training]:
    """Return the trainings, one for each seed, behind a row of the final table.

    A seed that the trial had itself is not trained again: it would give the same weights.

    Args:
        spec: gives the seeds; with none of them a trial stands for itself, and what stands beside
            it has its seed, so that both can be paired.
        trial: a candidate, or the winner.
        who: the trial itself, "base", or one of the references that change its settings.
    """
    wanted = spec.base if who == "base" else trial.experiment
    if who not in (WINNER, "base"):
        wanted = from_dict(override(wanted.model_dump(mode="json"), spec.final.changes(who)))
    origin = {WINNER: f"{trial.number:04d}", "base": "base"}.get(who, f"{trial.number:04d}-{who}")
    trainings = []
    for seed in spec.final.seeds or [trial.experiment.seed]:
        if who == WINNER and seed == wanted.seed:
            trainings.append(trial)
            continue
        whose = None if who == "base" else trial
        trainings.append(retraining(spec, origin, wanted, seed, whose))
    return trainings


def trainings_of_row(
    spec: SweepSettings, ranked: Ranked, winner: Training, who: str
) -> list[Training]:
    """Return the trainings of a row of the table; a trial with the base's settings is the base."""
    if who == "base":
        for trial, _ in ranked:
            paired = spec.final.seeds or trial.experiment.seed == winner.experiment.seed
            if paired and is_base(spec, trial):
                return seeded(spec, trial)
    return seeded(spec, winner, who)


def is_base(spec: SweepSettings, trial: Training) -> bool:
    """Whether a trial has drawn the base's settings."""
    plain = {"name": "", "seed": 0}
    return trial.experiment.model_copy(update=plain) == spec.base.model_copy(update=plain)


def references(spec: SweepSettings, ranked: Ranked, winner: Training) -> list[Training]:
    """Return the reference trainings for the winner that are not trials."""
    trainings = [
        training
        for who in spec.final.trained
        for training in trainings_of_row(spec, ranked, winner, who)
    ]
    return [training for training in trainings if training.kind == "final"]
