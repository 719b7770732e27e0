"""What a trial costs beside its training: ours and a plain Tune function, with empty loops.

And how long ``c2vl train`` takes from the shell to its first step, beside importing torch and Ray.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from c2vl.config.experiment import Experiment
from c2vl.config.reading import dump, from_dict
from c2vl.skeletons.store import Store
from c2vl.training.peers import Report, lead
from c2vl.training.run_folder import RunFolder
from sweeps.planning.cluster_resources import cluster
from sweeps.running.engine import Trainable, run_jobs
from sweeps.running.stopping import Stop
from sweeps.spec.training_job import FixedSource, Job

TRIALS = 6


def empty_training(config: dict[str, Any]) -> None:
    """A trial as :func:`sweeps.running.trial.run` does it, with a loop that does nothing."""
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer

    import c2vl.training.loop  # noqa: F401  the imports of a real trial

    def loop() -> None:
        tune.report({"epoch": 1})

    TorchTrainer(loop, scaling_config=ray.train.ScalingConfig(num_workers=0)).fit()
    tune.report({"epoch": 1, "outcome": "complete"})


def report_once(job: dict[str, Any], rank: int, report: Report) -> None:
    """A loop that does nothing but to report."""
    report({"epoch": 1})


def empty_group(config: dict[str, Any]) -> None:
    """The same with two workers, as :func:`c2vl.training.launch.fit` starts them under Tune."""
    from ray import tune

    import c2vl.training.loop  # noqa: F401

    lead(report_once, {}, workers=2, cpus=0.5, gpus=0, report=tune.report)
    tune.report({"epoch": 1, "outcome": "complete"})


def train_group(config: dict[str, Any]) -> None:
    """The same with a worker group of Ray Train's, which is started for each trial."""
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def loop() -> None:
        import c2vl.training.loop  # noqa: F401

        ray.train.report({"epoch": 1})

    TorchTrainer(
        loop,
        scaling_config=ray.train.ScalingConfig(
            num_workers=2, resources_per_worker={"CPU": 0.5}, use_gpu=False
        ),
        run_config=ray.train.RunConfig(
            name=config["name"],
            storage_path=config["folder"],
            callbacks=[TuneReportCallback()],
        ),
    ).fit()
    tune.report({"epoch": 1, "outcome": "complete"})


def plain_function(config: dict[str, Any]) -> None:
    """The baseline: a Tune function with the same imports, a process a trial."""
    from ray import tune

    import c2vl.training.loop  # noqa: F401

    tune.report({"epoch": 1})


def seconds(trainable: Trainable, folder: Path, *bundles: dict[str, float]) -> float:
    """Run jobs one after another; return what one takes."""
    jobs = [Job(f"t{i}", Experiment(name="t"), folder / f"t{i}") for i in range(TRIALS)]
    began = time.perf_counter()
    run_jobs(
        FixedSource(jobs),
        name=folder.name,
        folder=folder,
        trainable=trainable,
        listeners=[],
        stop=Stop(),
        concurrency=lambda: 1,
        bundles=list(bundles),
        max_failures=0,
    )
    return (time.perf_counter() - began) / TRIALS


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
        ours = seconds(empty_training, tmp_path / "ours", {"CPU": 1.0})
        group = seconds(empty_group, tmp_path / "group", {"CPU": 0.5}, {"CPU": 0.5})
        train = seconds(train_group, tmp_path / "train", {"CPU": 0.0, "memory": 2.0**28})
    print(f"\n{ours:.2f} s a trial; plain Tune function {plain:.2f} s; ratio {ours / plain:.2f}")
    print(f"{group:.2f} s a trial of two workers; ratio {group / plain:.2f}")
    print(f"{train:.2f} s with a worker group of Ray Train's; ratio {train / plain:.2f}")
    assert ours < 1.5 * plain and group < 2 * plain


@pytest.mark.slow
def test_time_to_the_first_step(demo_store: Store, language: Path, tmp_path: Path) -> None:
    settings = {
        "data": {"store": str(demo_store.path), "frames": 16, "validation_folds": 2},
        "prompts": {"language": str(language), "per_sample": 3},
        "train": {"epochs": 2, "batch_size": 16},
    }
    config = tmp_path / "one.yaml"
    config.write_text(dump(from_dict(settings)), encoding="utf-8")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, ray.train.torch"], check=True)
    imports = time.perf_counter() - began
    out = tmp_path / "run"
    began, folder = time.perf_counter(), RunFolder(out)
    command = [sys.executable, "-m", "c2vl", "train", str(config), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while not (rows := folder.rows()):
            assert run.poll() in (None, 0)
            time.sleep(0.02)
        first = time.perf_counter() - began - rows[0]["seconds"]
        run.wait()
    share = folder.rows()[1]["data_wait"]  # not the epoch that begins with nothing read
    print(f"\nfirst step after {first:.2f} s; importing torch and Ray alone {imports:.2f} s")
    print(f"waiting for data: {share:.2%} of a step")
    assert first < 3 * imports and share < 0.05
