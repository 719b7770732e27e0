"""A sweep on Ray Train's documented trainer, as when Ray has changed what keeps workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.stores import epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.slow]


@pytest.mark.parametrize("workers", [1, 2])
def test_trials_end_as_on_workers_that_stay(
    workers: int, sweep_file: Path, c2vl_sweep: Callable[..., Any], tmp_path: Path
) -> None:
    """The workers take all CPUs: the third trial starts only once the stopped second one frees."""
    cpus = (os.cpu_count() or 2) / workers
    words = ["train.reuse_workers=false", f"train.workers={workers}"]
    out = c2vl_sweep("run", sweep_file, *words, f"train.cpus_per_worker={cpus:g}", cwd=tmp_path)
    assert out.stdout.count("documented trainer") == 1
    storage = tmp_path / "runs"
    assert outcomes(storage) == {("FINISHED", "complete"): 2, ("KILLED", "pruned"): 1}
    for run in runs(storage, "trial").values():
        logged = epochs(storage, run)
        assert logged == list(range(1, len(logged) + 1))
