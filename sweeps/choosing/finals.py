"""After the choice (:mod:`.candidates`): what stands beside the winner, and the test part.

What ``final.beside`` names is trained with the winner's seeds and budget. What the test part says
is kept in ``final.json`` and never asked for twice.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.config.reading import from_dict, override
from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.choosing.intervals import half_width, interval
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.spec.training_job import Job

Figures = dict[str, float]
Ranked = list[tuple[Job, float]]  # complete trials with their value, best first
SHOWN = {"linear": "linear", "linear_sgd": "linear, SGD", "knn1": "1-NN", "knn20": "20-NN"}
WINNER, RANDOM, CAPTIONS, JOINTS = "winner", "random", "captions", "joints"
ROWS = {
    WINNER: "winner",
    "base": "base experiment",
    "hard": "winner with hard targets",
    "supervised": "supervised, same budget",
    RANDOM: "random encoder",
    CAPTIONS: "captions alone",
    JOINTS: "raw joints",
}
TRAINED: dict[str, dict[str, Any]] = {  # what is changed of the winner's settings
    "hard": {"objective.targets": "hard"},
    "supervised": {"objective.supervised": True},
}
NO_SEED = "-"


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
        judged: the metric of each candidate's seeds, in their order, by the trial's number; one
            that was left behind in a round has fewer.
        test: test figures by row of the table (a key of ``ROWS``), then by seed.
    """

    name: str
    data: str
    metric: str
    trial: int
    values: dict[str, Any]
    run: str
    folder: str
    validation: dict[str, float]
    judged: dict[str, list[float]] = field(default_factory=dict)
    test: dict[str, dict[str, Figures]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The table's title: every figure names its data."""
        return f"{self.name}: {self.data}, test part, top-1 accuracy in %"

    def candidates(self) -> list[dict[str, str]]:
        """Rows for people: each candidate over its seeds on validation, the winner first."""
        rows = []
        for trial, values in sorted(self.judged.items(), key=lambda row: row[0] != str(self.trial)):
            mean = f"{statistics.mean(values):.4f}"
            row = {"trial": trial, "seeds": str(len(values)), f"{self.metric}, mean": mean}
            rows.append({**row, "95 % interval": interval(values, ".4f") or "–"})
        return rows

    def table(self) -> list[dict[str, str]]:
        """Rows for people: mean over seeds; of several the standard deviation and 95 % interval."""
        rows = []
        for who in (who for who in ROWS if who in self.test):
            by_seed = self.test[who]
            row = {"": ROWS[who], "seeds": NO_SEED if NO_SEED in by_seed else str(len(by_seed))}
            for key, label in SHOWN.items():
                row[label] = _spread([100 * f[key] for f in by_seed.values() if key in f])
            rows.append(row)
        return rows

    def figures(self) -> Figures:
        """Means over seeds, for MLflow: ``test_linear``, ``random_test_linear`` …"""
        seeds = list(self.validation.values())
        found: Figures = {
            "winner_trial": float(self.trial),
            "winner_validation": statistics.mean(seeds),
        }
        if (half := half_width(seeds)) is not None:
            found["winner_validation_half_width"] = half
        for who, by_seed in self.test.items():
            prefix = "" if who == WINNER else f"{who}_"
            for key in SHOWN:
                if values := [figures[key] for figures in by_seed.values() if key in figures]:
                    found[f"{prefix}test_{key}"] = statistics.mean(values)
        return found


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.1f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.1f} ({interval(values, '.1f')})"


def seeded(spec: SweepSettings, trial: Job, who: str = WINNER) -> list[Job]:
    """Return the trainings, one a seed, that a row of the final table stands on.

    A seed that the trial had itself is not trained again: it would give the same weights.

    Args:
        spec: gives the seeds; with none of them a trial stands for itself.
        trial: a candidate, or the winner.
        who: the trial itself, "base", or one of the references that change its settings.
    """
    wanted = spec.base if who == "base" else trial.experiment
    wanted = from_dict(override(wanted.model_dump(mode="json"), TRAINED.get(who, {})))
    origin = {WINNER: f"{trial.number:04d}", "base": "base"}.get(who, f"{trial.number:04d}-{who}")
    number, values = (-1, {}) if who == "base" else (trial.number, trial.values)
    jobs = []
    for seed in spec.final.seeds or [wanted.seed]:
        if who == WINNER and seed == wanted.seed:
            jobs.append(trial)
            continue
        name = f"{spec.name}-final-{origin}-s{seed}"
        experiment = wanted.model_copy(update={"seed": seed, "name": name})
        folder = spec.folder.finals / name
        jobs.append(Job(name, experiment, folder, "final", number, values))
    return jobs


def trainings(spec: SweepSettings, ranked: Ranked, winner: Job, who: str) -> list[Job]:
    """Return the trainings of a row of the table; a trial with the base's settings is the base."""
    if who == "base":
        for trial, _ in ranked:
            if is_base(spec, trial):
                return seeded(spec, trial)
    return seeded(spec, winner, who)


def is_base(spec: SweepSettings, trial: Job) -> bool:
    """Whether a trial has drawn the base's settings."""
    plain = {"name": "", "seed": 0}
    return trial.experiment.model_copy(update=plain) == spec.base.model_copy(update=plain)


def references(spec: SweepSettings, ranked: Ranked, winner: Job) -> list[Job]:
    """Return the trainings whose figures stand beside the winner's, and that are no trials."""
    jobs = [job for who in spec.final.trained for job in trainings(spec, ranked, winner, who)]
    return [job for job in jobs if job.kind == "final"]


def score_runs(
    spec: SweepSettings, final: Final, ranked: Ranked, winner: Job, stop: object
) -> Final:
    """Score the winner on the test part, and what stands beside it.

    Each figure is written down as soon as it is there, and not computed again.

    Args:
        spec: the sweep.
        final: the choice, made already.
        ranked: complete trials, best first.
        winner: the winning trial.
        stop: true when the sweep should end now.
    """
    figures: dict[str, dict[str, Callable[[], Figures]]] = {}
    for who in (WINNER, RANDOM, *spec.final.beside):
        if who == CAPTIONS:
            figures[who] = {NO_SEED: partial(_captions, winner.experiment)}
        elif who == JOINTS:
            figures[who] = {NO_SEED: partial(_joints, winner.experiment)}
        else:
            jobs = trainings(spec, ranked, winner, WINNER if who == RANDOM else who)
            figures[who] = {
                str(job.experiment.seed): partial(_scored, spec, job, who) for job in jobs
            }
    test = {who: dict(final.test.get(who, {})) for who in figures}
    for who, by_seed in figures.items():
        for seed, compute in by_seed.items():
            if seed in test[who]:
                continue
            if stop:
                return final
            test[who][seed] = compute()
            final = replace(final, test={name: found for name, found in test.items() if found})
            write_final(spec, final)
    return final


def _scored(spec: SweepSettings, job: Job, who: str) -> Figures:
    """Test figures of a training's encoder, or of the random one that it started from.

    The rows are kept in ``results/`` of the sweep's folder (``c2vl evaluate table`` reads them),
    and each reading is counted there.
    """
    from c2vl.encoder import load_encoder
    from c2vl.protocols.evaluate import Options, evaluate
    from c2vl.protocols.supervised import fresh as untrained
    from c2vl.protocols.task import Task
    from c2vl.skeletons.store import Store

    data, seed = job.experiment.data, job.experiment.seed
    encoder = load_encoder(job.encoder)
    if who == RANDOM:
        encoder = untrained(encoder, seed)
    store, by, k = Store.open(data.store), data.validation_by, data.validation_folds
    task = Task(encoder, store, data.split, "test", seed, by, k)
    options = Options(results_folder(spec), concepts=job.experiment.prompts.language)
    rows = [
        row
        for protocol in spec.final.protocols
        if protocol != "zero-shot" or "language" in encoder.concepts
        for row in evaluate(protocol, task, options, ledger=options.out, who=ROWS[who])
    ]
    return {row.key: row.value for row in rows}


def results_folder(spec: SweepSettings) -> Path:
    """Where the rows of the protocols are, and the count of test scorings."""
    return spec.folder.results


def _captions(experiment: Experiment) -> Figures:
    from c2vl.protocols.references import captions
    from c2vl.skeletons.store import Store

    data, table = experiment.data, experiment.prompts.language
    assert table is not None, "checked with the sweep"
    return captions(Store.open(data.store), data.split, table)


def _joints(experiment: Experiment) -> Figures:
    from c2vl.protocols.references import raw_joints
    from c2vl.skeletons.store import Store

    data = experiment.data
    store = Store.open(data.store)
    return raw_joints(store, data.split, frames=data.frames, centre=data.centre, align=data.align)


def write_final(spec: SweepSettings, final: Final) -> None:
    """Write ``final.json``."""
    write_text(spec.folder.final, json.dumps(asdict(final), indent=1))


def former_winners(folder: SweepFolder) -> set[int]:
    """Return the numbers of the trials that won before a sweep was extended, and may win again."""
    return {final.trial for final in _former(folder)}


def former_figures(folder: SweepFolder, trial: int) -> dict[str, dict[str, Figures]]:
    """Return what the test part said of a trial that won before: it is not asked again."""
    figures: dict[str, dict[str, Figures]] = {}
    for final in _former(folder):
        if final.trial == trial:
            for who, by_seed in final.test.items():
                figures.setdefault(who, {}).update(by_seed)
    return figures


def _former(folder: SweepFolder) -> list[Final]:
    return [_read(path) for path in folder.former_finals]


def read_final(folder: SweepFolder) -> Final | None:
    """Read ``final.json`` of a sweep's folder; None while there is none.

    Raises:
        UserError: it is damaged.
    """
    return _read(folder.final) if folder.final.exists() else None


def _read(path: Path) -> Final:
    try:
        return Final(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: is damaged ({error}); remove it, and `c2vl-sweep resume` chooses anew"
        ) from None
