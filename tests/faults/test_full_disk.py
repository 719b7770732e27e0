"""A disk that runs full under checkpoints, study and tracking at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disks import small_disk
from tests.faults.processes import digest, running, undisturbed, wait_for_epoch
from tests.sweeps.stores import epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]


def test_a_full_disk_ends_the_sweep_and_loses_nothing(
    sweep_file: Path, c2vl_sweep: Callable[..., Any], tmp_path: Path
) -> None:
    """Checkpoints, study and tracking lie on one disk of a few megabytes, and it runs full."""
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials/small-0000"
    words = [
        "train.epochs=12",
        "train.evaluate_every=6",
        "pruner.name=none",
        "trials=1",
        "points=[]",
        "tracking.patience=1",
    ]
    with small_disk(storage, megabytes=16) as disk:
        with running(sweep_file, *words, cwd=tmp_path) as process:
            wait_for_epoch(process, folder, 3)
            disk.fill()
            out, _ = process.communicate(timeout=200)
        assert process.returncode not in (0, -9), out
        assert "no room is left" in out and "c2vl-sweep resume small" in out, out
        assert "Traceback" not in out
        assert not list(folder.rglob(".step-*"))  # nothing half-written
        disk.free()
        c2vl_sweep("resume", "small", cwd=tmp_path)
        assert outcomes(storage) == {("FINISHED", "complete"): 1}
        (run,) = runs(storage, "trial").values()
        assert epochs(storage, run) == list(range(1, 13))
        assert digest(folder) == undisturbed(folder, tmp_path / "undisturbed")
