"""What is trained after the search, and what is not trained twice."""

from __future__ import annotations

from pathlib import Path

from sweeps.finals import candidates, references, trainings
from sweeps.jobs import Job
from sweeps.space import experiment
from sweeps.spec import SweepSettings, parse_sweep


def sweep(folder: Path) -> SweepSettings:
    return parse_sweep(
        {
            "name": "s",
            "storage": str(folder),
            "base": {"optim": {"lr": 0.1}},
            "space": {"optim.lr": {"type": "float", "low": 0.01, "high": 1.0}},
            "final": {"seeds": [0, 1], "candidates": 2, "beside": ["base", "hard", "supervised"]},
        },
        "s.yaml",
    )


def trial(spec: SweepSettings, number: int, lr: float) -> Job:
    values = {"optim.lr": lr}
    settings = experiment(spec.base, spec.space, values)
    name = f"s-{number:04d}"
    settings = settings.model_copy(update={"name": name})
    return Job(name, settings, spec.folder / "trials" / name, "trial", number, values)


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_every_row_has_every_seed_and_the_winners_budget(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    ranked = [(trial(spec, 4, 0.2), 0.9), (trial(spec, 2, 0.3), 0.8), (trial(spec, 1, 0.4), 0.7)]
    assert names(candidates(spec, ranked)) == ["s-final-0004-s1", "s-final-0002-s1"]
    winner = ranked[0][0]
    jobs = references(spec, ranked, winner)
    rows = ("base", "0004-hard", "0004-supervised")
    assert names(jobs) == [f"s-final-{who}-s{seed}" for who in rows for seed in (0, 1)]
    base, hard, supervised = jobs[1].experiment, jobs[3].experiment, jobs[5].experiment
    assert (base.optim.lr, hard.optim.lr, supervised.optim.lr) == (0.1, 0.2, 0.2)
    assert hard.objective.targets == "hard" and supervised.objective.supervised
    assert {job.experiment.train for job in jobs} == {winner.experiment.train}
    assert [job.experiment.seed for job in jobs] == [0, 1] * 3


def test_a_trial_with_the_bases_settings_is_the_base(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    ranked = [(trial(spec, 4, 0.2), 0.9), (trial(spec, 0, 0.1), 0.8)]
    winner = ranked[0][0]
    assert names(trainings(spec, ranked, winner, "base")) == ["s-0000", "s-final-0000-s1"]
    again = set(names(references(spec, ranked, winner))) & set(names(candidates(spec, ranked)))
    assert again == {"s-final-0000-s1"}  # the same run: done already by then
