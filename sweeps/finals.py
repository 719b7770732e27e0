"""After the search: train the best anew with other seeds, choose, and only then read the test part.

A lucky seed must not win: with ``final.seeds`` the best ``final.candidates`` trials are judged by
their mean over the seeds, on validation. What the test part says of the winner is kept in
``final.json`` and never asked for twice.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from c2vl.config import Experiment
from c2vl.training.checkpoint import write_text
from sweeps.jobs import Job
from sweeps.spec import SweepSettings
from sweeps.study import StudySource, objective_values

Figures = dict[str, float]
WINNER, BASE, RANDOM = "winner", "base experiment", "random encoder"
SHOWN = {"linear": "linear", "linear_sgd": "linear, SGD", "knn1": "1-NN", "knn20": "20-NN"}


@dataclass(frozen=True)
class Final:
    """Who won, and what the test part says.

    Attributes:
        name: of the sweep.
        data: dataset and split, for titles.
        metric: what was chosen by, on validation.
        trial: number of the winning trial.
        values: what was drawn for it.
        run: the run whose encoder is kept: of the winner's seeds the best on validation.
        folder: that run's folder, relative to the sweep's.
        validation: the metric of each of the winner's seeds, by run.
        test: test figures by row of the table, then by seed.
    """

    name: str
    data: str
    metric: str
    trial: int
    values: dict[str, Any]
    run: str
    folder: str
    validation: dict[str, float]
    test: dict[str, dict[str, Figures]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The table's title: every figure names its data."""
        return f"{self.name}: {self.data}, test part, top-1 accuracy in %"

    def table(self) -> list[dict[str, str]]:
        """Rows for people: mean over seeds, with the spread where there are several."""
        rows = []
        for who, by_seed in self.test.items():
            row = {"encoder": who, "seeds": str(len(by_seed))}
            for key, label in SHOWN.items():
                row[label] = _spread([100 * figures[key] for figures in by_seed.values()])
            rows.append(row)
        return rows

    def figures(self) -> Figures:
        """Means over seeds, for MLflow: ``test_linear``, ``random_test_linear`` …"""
        found: Figures = {"winner_trial": float(self.trial)}
        prefix = {WINNER: "test", BASE: "base_test", RANDOM: "random_test"}
        for who, by_seed in self.test.items():
            for key in SHOWN:
                mean = statistics.mean(figures[key] for figures in by_seed.values())
                found[f"{prefix[who]}_{key}"] = mean
        return found


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def seeded(spec: SweepSettings, trial: Job | None) -> list[Job]:
    """Return the trainings that stand for a candidate (or the base experiment) in the end.

    A seed that the trial had itself is not trained again: it would give the same weights.

    Args:
        spec: gives the seeds; with none of them a trial stands for itself.
        trial: the candidate; None is the base experiment.
    """
    seeds = spec.final.seeds or [(trial.experiment if trial else spec.experiment).seed]
    jobs = []
    for seed in seeds:
        if trial is not None and seed == trial.experiment.seed:
            jobs.append(trial)
            continue
        who = f"{trial.number:04d}" if trial else "base"
        name = f"{spec.name}-final-{who}-s{seed}"
        experiment = (trial.experiment if trial else spec.experiment).model_copy(
            update={"seed": seed, "name": name}
        )
        number, values = (trial.number, trial.values) if trial else (-1, {})
        folder = spec.folder / "finals" / name
        jobs.append(Job(name, experiment, folder, "final", number, values))
    return jobs


def jobs_after(spec: SweepSettings, source: StudySource) -> list[Job]:
    """Return all trainings that come after the search; those that are done as well."""
    jobs: list[Job] = []
    for trial, _ in source.ranked()[: spec.final.candidates]:
        jobs += seeded(spec, trial)
    if spec.final.baseline:
        jobs += seeded(spec, None)
    return [job for job in jobs if job.kind == "final"]


def choose(spec: SweepSettings, ranked: list[tuple[Job, float]]) -> Final:
    """Choose the winner on validation figures alone; a choice that is on disk stands.

    Args:
        spec: says how many candidates, and which seeds.
        ranked: complete trials, best first.
    """
    if (known := read_final(spec.folder)) is not None:
        return known
    objective = spec.objectives[0]
    sign = 1 if objective.direction == "maximize" else -1
    judged: list[tuple[float, Job, list[tuple[Job, float]]]] = []
    for trial, value in ranked[: spec.final.candidates]:
        runs = []
        for job in seeded(spec, trial):
            values = objective_values([objective], job.rows())
            runs.append((job, value if job is trial or values is None else values[0]))
        judged.append((statistics.mean(v for _, v in runs), trial, runs))
    _, winner, runs = max(judged, key=lambda row: sign * row[0])
    best, _ = max(runs, key=lambda run: sign * run[1])
    final = Final(
        name=spec.name,
        data=_data(spec.experiment),
        metric=objective.metric,
        trial=winner.number,
        values=dict(winner.values),
        run=best.name,
        folder=str(best.folder.relative_to(spec.folder)),
        validation={job.name: value for job, value in runs},
    )
    _write(spec, final)
    return final


def _data(experiment: Experiment) -> str:
    from c2vl.skeletons.store import read_manifest

    return f"{read_manifest(experiment.data.store)['dataset']} {experiment.data.split}"


def score_runs(spec: SweepSettings, final: Final, winner: Job, stop: object) -> Final:
    """Score the winner, the base experiment where it was trained, and random encoders on test.

    Each figure is written down as soon as it is there, and not computed again.

    Args:
        spec: the sweep.
        final: the choice, made already.
        winner: the winning trial.
        stop: true when the sweep should end now.
    """
    from c2vl.encoder import load_encoder
    from c2vl.protocols.report import random_encoder, score
    from c2vl.skeletons.store import Store

    rows = {WINNER: seeded(spec, winner), RANDOM: seeded(spec, winner)}
    if spec.final.baseline:
        rows[BASE] = seeded(spec, None)
    test = {who: dict(final.test.get(who, {})) for who in rows}
    for who, jobs in rows.items():
        for job in jobs:
            seed, data = job.experiment.seed, job.experiment.data
            if str(seed) in test[who]:
                continue
            if stop:
                return final
            store = Store.open(data.store)
            encoder = (
                random_encoder(job.experiment, store)
                if who == RANDOM
                else load_encoder(job.folder / "encoder")
            )
            by, k = data.validation_by, data.validation_folds
            figures = score(encoder, store, data.split, part="test", seed=seed, by=by, k=k)
            test[who][str(seed)] = figures
            final = replace(final, test={name: found for name, found in test.items() if found})
            _write(spec, final)
    return final


def _write(spec: SweepSettings, final: Final) -> None:
    write_text(spec.folder / "final.json", json.dumps(asdict(final), indent=1))


def set_aside(folder: Path) -> None:
    """Put a former choice aside, since more trials come: it stays on record as ``final-K.json``."""
    path = folder / "final.json"
    if path.exists():
        path.rename(folder / f"final-{len(list(folder.glob('final-*.json'))) + 1}.json")


def read_final(folder: Path) -> Final | None:
    """Read ``final.json`` of a sweep's folder; None while there is none."""
    path = folder / "final.json"
    return Final(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
