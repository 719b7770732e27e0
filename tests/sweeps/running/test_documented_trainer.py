"""A sweep on Ray Train's documented trainer, as when Ray has changed what keeps workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2vl.training.run_folder import RunFolder
from tests.faults.processes import part, running, wait_for_epoch
from tests.sweeps.stores import epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.slow]


@pytest.mark.parametrize("workers", [1, 2])
def test_trials_end_as_on_workers_that_stay(workers: int, sweep_file: Path, tmp_path: Path) -> None:
    """A worker of the first trial is killed; the second one is stopped after an epoch.

    The workers take all CPUs: the third trial starts only once the second one has freed them.
    """
    cpus = (os.cpu_count() or 2) / workers
    words = ["train.reuse_workers=false", f"train.workers={workers}"]
    words.append(f"train.cpus_per_worker={cpus:g}")
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials"
    with running(sweep_file, *words, cwd=tmp_path) as process:
        wait_for_epoch(process, folder / "small-0000", 1)
        part(process, "worker").kill()
        out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    assert out.count("documented trainer") == 1
    assert outcomes(storage) == {("FINISHED", "complete"): 2, ("FINISHED", "pruned"): 1}
    trials = runs(storage, "trial")
    assert {name: run.data.tags["attempts"] for name, run in trials.items()} == {
        "small-0000": "2",
        "small-0001": "1",
        "small-0002": "1",
    }
    for name, run in trials.items():
        steps = epochs(storage, run)
        stopped = run.data.tags["outcome"] == "pruned"
        assert steps == ([1] if stopped else [1, 2, 3, 4])
        assert [row["epoch"] for row in RunFolder(folder / name).rows()] == steps
