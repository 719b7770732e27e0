"""What a trial costs beside its training: ours and a plain Tune function, with empty loops."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from c2vl.config import Experiment
from sweeps.engine import Stop, run_jobs
from sweeps.jobs import FixedSource, Job
from sweeps.resources import cluster

TRIALS = 6


def empty_training(config: dict[str, Any]) -> None:
    """A trial as :func:`sweeps.trial.run` does it, with a loop that does nothing."""
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer

    import c2vl.training.loop  # noqa: F401  the imports of a real trial

    def loop() -> None:
        tune.report({"epoch": 1})

    TorchTrainer(loop, scaling_config=ray.train.ScalingConfig(num_workers=0)).fit()
    tune.report({"epoch": 1, "outcome": "complete"})


def plain_function(config: dict[str, Any]) -> None:
    """The baseline: a Tune function with the same imports, a process a trial."""
    from ray import tune

    import c2vl.training.loop  # noqa: F401

    tune.report({"epoch": 1})


@pytest.mark.slow
@pytest.mark.ray
def test_overhead_of_a_trial(tmp_path: Path) -> None:
    from ray import tune

    with cluster("local", cpus=1):
        began = time.perf_counter()
        tune.Tuner(
            tune.with_resources(plain_function, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=TRIALS, reuse_actors=False),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "plain"), verbose=0),
        ).fit()
        plain = (time.perf_counter() - began) / TRIALS
        jobs = [Job(f"t{i}", Experiment(name="t"), tmp_path / f"t{i}") for i in range(TRIALS)]
        began = time.perf_counter()
        run_jobs(
            FixedSource(jobs),
            name="ours",
            folder=tmp_path / "ours",
            trainable=empty_training,
            listeners=[],
            stop=Stop(),
            concurrency=1,
            bundles=[{"CPU": 1.0}],
            max_failures=0,
        )
        ours = (time.perf_counter() - began) / TRIALS
    print(f"\n{ours:.2f} s a trial; plain Tune function {plain:.2f} s; ratio {ours / plain:.2f}")
    assert ours < 1.5 * plain
