"""A finished sweep of any size: study, run folders and MLflow database, without any training.

What ``c2vl-sweep`` reads of it is what a real sweep leaves. A thousand trials of 300 epochs take
a minute or two, and half a GB in MLflow's database:

    python -m tests.benchmarks.finished_sweep FOLDER TRIALS [--no-mlflow]
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from c2vl.config.reading import dump
from c2vl.training.run_folder import RunFolder
from sweeps.search.study import training_of
from sweeps.search.trial_source import OWNER
from sweeps.search.warm_start import distribution
from sweeps.spec.reading import dump_sweep
from sweeps.spec.space import RandomDraws, draw
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Row, Training
from sweeps.tracking.tracker import Tracker
from tests.sweeps import synthetic

EPOCHS = 300
EVERY_EPOCH = (
    "loss", "loss_skeleton_language", "loss_skeleton_vision", "grad_norm", "alpha", "lr",
    "temperature_skeleton_language", "temperature_skeleton_vision", "temperature_vision_language",
    "samples_per_second", "data_wait", "seconds",
)  # fmt: skip
VALIDATED = (
    "linear_val", "knn_val", "alignment", "alignment_language", "alignment_vision", "uniformity",
    "rankme",
)  # fmt: skip


def make(
    folder: Path,
    trials: int,
    *,
    epochs: int = EPOCHS,
    evaluate_every: int = 1,
    tracked: bool = True,
) -> SweepSettings:
    """Write a sweep whose trials all ran to their end; return its settings.

    Args:
        folder: new; its ``runs`` become the storage.
        trials: how many.
        epochs: of each.
        evaluate_every: epochs between validation figures.
        tracked: with MLflow's database. One run is written by the tracker, the others are copies.
    """
    spec = synthetic.sweep(
        folder,
        {**synthetic.NUMERIC, **synthetic.CATEGORICAL},
        trials,
        base={"train": {"epochs": epochs, "evaluate_every": evaluate_every}},
        objectives=[{"metric": "linear_val", "direction": "maximize"}],
        pruner={"name": "asha", "min_epochs": 10, "reduction": 3},
    )
    spec.folder.path.mkdir(parents=True)
    spec.folder.make_identity()
    spec.folder.settings.write_text(dump_sweep(spec))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=spec.name, storage=spec.study_uri, directions=["maximize"]
    )
    study.set_user_attr(OWNER, spec.folder.identity())
    trainings, values = [], []
    for number in range(trials):
        training = training_of(spec, number, draw(spec.space, RandomDraws(number)))
        rows = list(_rows(training, epochs, evaluate_every))
        _write(training, rows)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=rows[-1]["linear_val"],
                params=dict(training.values),
                distributions={name: distribution(spec.space, name) for name in training.values},
            )
        )
        values += [(number + 1, row["epoch"], row["linear_val"]) for row in _validated(rows)]
        trainings.append(training)
    _add_intermediate_values(spec.folder.study, values)
    if tracked:
        _track(spec, trainings)
    return spec


def _rows(training: Training, epochs: int, evaluate_every: int) -> Iterator[Row]:
    random = np.random.default_rng(training.number)
    level = synthetic.level(training)
    noise = random.normal(size=(epochs, len(EVERY_EPOCH) + len(VALIDATED)))
    for epoch in range(1, epochs + 1):
        # Real figures are means over steps: floats of full length in the file
        figures = dict(zip((*EVERY_EPOCH, *VALIDATED), map(float, noise[epoch - 1]), strict=True))
        figures |= {"seconds": 1.4 + 0.1 * abs(figures["seconds"]), "lr": 0.1 / epoch}
        reached = level * (1 - np.exp(-5 * epoch / epochs))
        figures["linear_val"] = float(reached + 0.012 * figures["linear_val"])
        names = EVERY_EPOCH
        if epoch % evaluate_every == 0 or epoch == epochs:
            names += VALIDATED
        yield {"epoch": epoch, "step": 40 * epoch, **{name: figures[name] for name in names}}


def _validated(rows: list[Row]) -> list[Row]:
    return [row for row in rows if "linear_val" in row]


def _write(training: Training, rows: list[Row]) -> None:
    training.folder.mkdir(parents=True)
    run = RunFolder(training.folder)
    run.settings.write_text(dump(training.experiment))
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.finish(sum(row["seconds"] for row in rows))


def _add_intermediate_values(file: Path, values: list[tuple[int, int, float]]) -> None:
    """Optuna asks the database for each value before it writes it: here all are new."""
    with sqlite3.connect(file) as database:
        database.executemany(
            "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value,"
            " intermediate_value_type) VALUES (?, ?, ?, 'FINITE')",
            values,
        )
    database.close()


def _track(spec: SweepSettings, trainings: list[Training]) -> None:
    """Write the first trial's run as the tracker does, and copy its rows for the others."""
    tracker = Tracker(spec, spec.folder.identity())
    tracker.begin({})
    tracker.reconcile([(trainings[0], "complete")])
    tracker.finish("complete")
    database = sqlite3.connect(spec.storage / "mlflow.db")
    with database:
        first = _one(database, "SELECT run_uuid FROM tags WHERE key = 'run' AND value = ?",
                     trainings[0].name)  # fmt: skip
        for number, training in enumerate(trainings[1:], 1):
            new = f"{number:032x}"
            for table in ("runs", "metrics", "latest_metrics", "params", "tags"):
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                known = {"run_uuid": "?"} | ({"name": "?"} if table == "runs" else {})
                chosen = ", ".join(known.get(column, column) for column in columns)
                words = [{"run_uuid": new, "name": training.name}[c] for c in columns if c in known]
                database.execute(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}"
                    " WHERE run_uuid = ?",
                    [*words, first],
                )
            for key, value in {"run": training.name, "mlflow.runName": training.name}.items():
                database.execute(
                    "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?", [value, key, new]
                )
    database.close()


def _one(database: sqlite3.Connection, query: str, *words: Any) -> Any:
    return database.execute(query, words).fetchone()[0]


def main() -> None:
    """Make one, and say where and how long it took."""
    began = time.process_time()
    spec = make(Path(sys.argv[1]), int(sys.argv[2]), tracked="--no-mlflow" not in sys.argv)
    print(f"{spec.folder}: {time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
