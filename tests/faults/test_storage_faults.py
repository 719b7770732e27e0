"""What a sweep comes through: a study that is locked for half a minute."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState

from c2vl.training.checkpoint import read_metrics
from tests.faults.test_sweep_faults import running, wait_for_epoch
from tests.sweeps.stores import epochs, outcomes, runs, trials

LOCKED = 30.0  # seconds
LENGTH = 24  # epochs


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_a_study_that_is_locked_loses_nothing(sweep_file: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials"
    words = ["pruner.name=none", f"train.epochs={LENGTH}", "trials=2"]
    with running(sweep_file, *words, "points=[]", cwd=tmp_path) as process:
        wait_for_epoch(process, folder / "small-0000", 2)
        other = sqlite3.connect(storage / "sweeps/small/study.db", isolation_level=None, timeout=60)
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        before = len(read_metrics(folder / "small-0000/metrics.jsonl"))
        time.sleep(LOCKED)
        during = len(read_metrics(folder / "small-0000/metrics.jsonl"))
        other.execute("ROLLBACK")
        other.close()
        assert time.monotonic() - began >= LOCKED
        assert during > before + 3, "training goes on meanwhile"
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    assert "study: database is locked; waiting" in out and "study: there again" in out
    assert outcomes(storage) == {("FINISHED", "complete"): 2}
    assert Counter(trial.state for trial in trials(storage)) == {TrialState.COMPLETE: 2}
    for trial in trials(storage):
        assert list(trial.intermediate_values) == list(range(1, LENGTH + 1))
    for run in runs(storage, "trial").values():
        assert epochs(storage, run) == list(range(1, LENGTH + 1))
