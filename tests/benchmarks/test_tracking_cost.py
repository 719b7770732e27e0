"""What a reported epoch costs: the training that reports it, and the driver that tracks it.

Side by side in one run: no tracking, this project's tracker, and MLflow's own callback for Tune.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from c2vl.training.metrics_file import MetricsFile
from c2vl.training.run_folder import RunFolder
from sweeps.planning.cluster_resources import cluster
from sweeps.running.engine import run_trainings
from sweeps.running.stopping import Stop
from sweeps.spec.training import ListedTrainings, Training
from sweeps.tracking.tracker import Tracker
from tests.small import from_dict, parse_sweep

EPOCHS = 200
FIGURES = {f"figure_{i}": 0.1 * i for i in range(12)}


class TheirTrial:
    """What MLflow's callback wants to know of a trial."""

    config: ClassVar[dict[str, Any]] = {}


def reporting(config: dict[str, Any]) -> None:
    """A trial that does nothing but report; it writes down the seconds of each report."""
    from ray import tune

    seconds = []
    folder = Path(config["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    metrics = MetricsFile(RunFolder(folder).metrics)
    for epoch in range(1, EPOCHS + 1):
        metrics.add({"epoch": epoch, **FIGURES})
        began = time.perf_counter()
        tune.report({"epoch": epoch, **FIGURES})
        seconds.append(time.perf_counter() - began)
    (folder / "seconds").write_text("\n".join(map(str, seconds)))
    tune.report({"epoch": EPOCHS, **FIGURES, "outcome": "complete"})


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.mlflow
def test_cost_of_a_reported_epoch(tmp_path: Path) -> None:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    values = {"name": "cost", "storage": str(tmp_path), "space": {"optim.lr": SPACE}}
    spec = parse_sweep(values, "cost.yaml")
    spec.folder.path.mkdir(parents=True)
    tracker = Tracker(spec, "i")
    theirs = MLflowLoggerCallback(
        tracking_uri=f"sqlite:///{tmp_path / 'theirs.db'}", experiment_name="e"
    )
    theirs.setup()
    trial: Any = TheirTrial()
    theirs.log_trial_start(trial)
    row = {"epoch": 1, "training_iteration": 1, **FIGURES}
    training = Training("plain-0", from_dict({"name": "t"}), tmp_path / "driver")
    tracker.started(training, 1)
    training.folder.mkdir()
    metrics = MetricsFile(RunFolder(training.folder).metrics)
    costs: dict[str, list[float]] = {"ours": [], "MLflow's callback": []}
    for epoch in range(1, EPOCHS + 1):
        metrics.add({**row, "epoch": epoch})
        began = time.perf_counter()
        tracker.reported(training, {**row, "epoch": epoch})
        between = time.perf_counter()
        theirs.log_trial_result(epoch, trial, {**row, "training_iteration": epoch})
        costs["ours"].append(between - began)
        costs["MLflow's callback"].append(time.perf_counter() - between)
    driver = {who: 1000 * statistics.median(seconds) for who, seconds in costs.items()}

    reports: dict[str, float] = {}
    with cluster("local", cpus=1):
        for who, listeners in (("none", []), ("ours", [tracker]), ("again none", [])):
            trainings = [
                Training(f"{who}-{i}", from_dict({"name": "t"}), tmp_path / f"{who}{i}")
                for i in (0, 1)
            ]
            run_trainings(
                ListedTrainings(trainings),
                name=who,
                folder=tmp_path / "tune" / who,
                trainable=reporting,
                listeners=listeners,
                stop=Stop(),
                concurrency=lambda: 1,
                bundles=[{"CPU": 1.0}],
                max_failures=0,
            )
            seconds = [
                float(line)
                for training in trainings
                for line in (training.folder / "seconds").read_text().split()
            ]
            reports[who] = 1000 * statistics.median(seconds)
    tracker.finish("complete")
    print(
        f"\nmedian of a reported epoch, ms: in the driver {_shown(driver)}; "
        f"tune.report in the training {_shown(reports)}"
    )
    assert driver["ours"] < driver["MLflow's callback"]
    assert reports["ours"] - min(reports["none"], reports["again none"]) < 1.0


SPACE = {"type": "float", "low": 0.1, "high": 1.0}


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{who} {value:.3f}" for who, value in figures.items())
