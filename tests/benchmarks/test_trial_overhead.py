"""What a trial costs beside its training, after the first one: groups that stay, and others.

And how long ``c2vl train`` takes from the shell to its first step, beside importing torch and Ray.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from c2vl.config.reading import dump, override
from c2vl.skeletons.store import Store
from c2vl.training.run_folder import RunFolder
from sweeps.planning.cluster_resources import cluster, trial_resources
from sweeps.running import trial
from sweeps.running.engine import Trainable, run_trainings
from sweeps.running.stopping import Stop
from sweeps.spec.training import End, ListedTrainings, Listener, Training
from tests.small import from_dict

TRIALS = 4
CPUS = 4  # of Ray: as many processes may start at once


def plain_function(config: dict[str, Any]) -> None:
    """The baseline: a Tune function with the same imports, a process a trial."""
    from ray import tune

    import c2vl.training.loop  # noqa: F401  the imports of a real trial

    tune.report({"epoch": 1, "outcome": "complete"})


def empty_loop(training: dict[str, Any], report: Any) -> None:
    """A loop that does nothing but report."""
    import c2vl.training.loop  # noqa: F401

    report({"epoch": 1})


def kept_group(config: dict[str, Any]) -> None:
    """A group that stays, as :func:`c2vl.training.launch.fit` starts it."""
    from ray import tune

    from c2vl.training import train_group
    from c2vl.training.group_run import GroupRun

    train_group.run(GroupRun(empty_loop, {}, tune.report, list, 0, print, **_configs(config)))
    tune.report({"epoch": 2, "outcome": "complete"})


def documented_group(config: dict[str, Any]) -> None:
    """The same with Ray Train's documented trainer."""
    from ray import tune
    from ray.train.torch import TorchTrainer

    import c2vl.training.loop  # noqa: F401

    def loop() -> None:
        import ray.train

        empty_loop({}, ray.train.report)

    TorchTrainer(loop, **_configs(config)).fit()
    tune.report({"epoch": 2, "outcome": "complete"})


def _configs(config: dict[str, Any]) -> dict[str, Any]:
    import ray.train

    from c2vl.support.ray_session import quiet_train

    workers = config["experiment"]["train"]["workers"]
    return {
        "scaling_config": ray.train.ScalingConfig(
            num_workers=workers, resources_per_worker={"CPU": 1}
        ),
        "run_config": ray.train.RunConfig(
            name=config["name"], storage_path=config["folder"], logging_config=quiet_train()
        ),
    }


class Meter(Listener):
    """Listens to trials, and reads what this process and all below it have spent at each end.

    Ray's processes leave no record when they end, so each is looked at five times a second.
    """

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.spent: list[tuple[float, float]] = []
        self._seen: dict[tuple[int, float], float] = {}
        self._look()
        self._began = sum(self._seen.values())
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.over.wait(0.2):
            self._look()

    def _look(self) -> None:
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            try:
                key, times = (process.pid, process.create_time()), process.cpu_times()
            except psutil.Error:
                continue
            self._seen[key] = times.user + times.system

    def ended(self, training: Training, end: End) -> None:
        self._look()
        self.outcomes.append(end.outcome)
        self.spent.append((sum(list(self._seen.values())) - self._began, time.perf_counter()))

    def each(self) -> tuple[float, float]:
        """Return CPU and wall seconds of a trial after the first."""
        (cpu, began), (cpu_end, end) = self.spent[0], self.spent[-1]
        return (cpu_end - cpu) / (TRIALS - 1), (end - began) / (TRIALS - 1)


def measure(
    trainable: Trainable,
    folder: Path,
    workers: int,
    *,
    documented: bool = False,
    base: dict[str, Any] | None = None,
) -> tuple[float, float]:
    """Run trainings one after another; return CPU and wall seconds of one after the first."""
    experiment = from_dict(override(base or {}, {"train.workers": workers}))
    meter = Meter()
    run_trainings(
        ListedTrainings([Training(f"t{i}", experiment, folder / f"t{i}") for i in range(TRIALS)]),
        name=folder.name,
        folder=folder,
        trainable=trainable,
        listeners=[meter],
        stop=Stop(),
        concurrency=lambda: 1,
        bundles=trial_resources(experiment, documented=documented),
        max_failures=0,
        reuse=trainable is not plain_function,
    )
    meter.over.set()
    assert meter.outcomes == ["complete"] * TRIALS
    return meter.each()


@pytest.mark.slow
@pytest.mark.ray
def test_overhead_of_a_trial(sweep_values: dict[str, Any], tmp_path: Path) -> None:
    base = override(sweep_values["base"], {"train.epochs": 1})
    with cluster("local", cpus=CPUS):
        table = {
            "plain Tune function, a process a trial": measure(plain_function, tmp_path / "f", 1),
            "group that stays, 1 worker": measure(kept_group, tmp_path / "k1", 1),
            "group that stays, 2 workers": measure(kept_group, tmp_path / "k2", 2),
            "documented TorchTrainer, 2 workers": measure(
                documented_group, tmp_path / "d2", 2, documented=True
            ),
            "all of a trial of one epoch, 1 worker": measure(
                trial.run, tmp_path / "t1", 1, base=base
            ),
            "all of a trial of one epoch, 2 workers": measure(
                trial.run, tmp_path / "t2", 2, base=base
            ),
        }
    for what, (cpu, wall) in table.items():
        print(f"\n{what:40s} {cpu:6.2f} CPU s a trial, {wall:6.2f} s", end="")
    print()
    plain, one, two, documented, *_ = (cpu for cpu, _ in table.values())
    # The aim is 0.5 CPU s; 0.08 and 0.14 were measured beside 3.7 and 23.4.
    assert max(one, two) < 0.1 * plain and two < 0.02 * documented


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
