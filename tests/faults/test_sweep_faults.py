"""What a sweep comes through: kills of it all, of one trial, Ctrl-C, failures, early stops."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.faults.processes import digest, kill, part, running, undisturbed, wait_for_epoch
from tests.sweeps.stores import client, epochs, outcomes, runs, trials

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]

LONG = ["train.epochs=12", "pruner.name=none"]


def test_killed_and_resumed(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials"
    with running(sweep_file, *LONG, cwd=tmp_path) as process:
        wait_for_epoch(process, folder / "small-0001", 3)
        kill(process)
    states = [trial.state for trial in trials(storage)]
    assert TrialState.RUNNING in states
    assert any(run.info.status == "RUNNING" for run in runs(storage, "trial").values())
    c2vl_sweep("resume", "small", cwd=tmp_path)
    assert [t.state for t in trials(storage) if t.state != TrialState.COMPLETE] == []
    assert [trial.number for trial in trials(storage)] == [0, 1, 2]
    assert outcomes(storage) == {("FINISHED", "complete"): 3}
    assert outcomes(storage, "sweep") == {("FINISHED", "complete"): 1}
    for run in runs(storage, "trial").values():
        assert epochs(storage, run) == list(range(1, 13))
    assert runs(storage, "trial")["small-0001"].data.tags["attempts"] == "2"
    # The trial that was cut off ends as if nothing had happened.
    again = undisturbed(folder / "small-0001", tmp_path / "undisturbed")
    assert digest(folder / "small-0001") == again


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("trial", []),
        ("worker", ["train.workers=2", "train.cpus_per_worker=0.5"]),
    ],
    ids=["trial", "worker of a group"],
)
def test_a_lost_trial_goes_on_in_its_run(
    lost: str, words: list[str], sweep_file: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials"
    with running(sweep_file, *LONG, *words, "trials=1", "points=[]", cwd=tmp_path) as process:
        wait_for_epoch(process, folder / "small-0000", 3)
        part(process, lost).kill()
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out
    assert "attempt 2" in out
    (run,) = runs(storage, "trial").values()
    assert (run.info.status, run.data.tags["attempts"]) == ("FINISHED", "2")
    assert epochs(storage, run) == list(range(1, 13))
    assert len(trials(storage)) == 1
    again = undisturbed(folder / "small-0000", tmp_path / "undisturbed")
    assert digest(folder / "small-0000") == again


def test_ctrl_c_stops_cleanly_and_says_how_to_resume(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    storage = tmp_path / "runs"
    with running(sweep_file, *LONG, "trials=2", "points=[]", cwd=tmp_path) as process:
        wait_for_epoch(process, storage / "sweeps/small/trials/small-0000", 2)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "c2vl-sweep resume small" in out
    assert "Traceback" not in out
    assert set(outcomes(storage)) == {("KILLED", "interrupted")}
    assert outcomes(storage, "sweep") == {("KILLED", "interrupted"): 1}
    c2vl_sweep("resume", "small", cwd=tmp_path)
    assert outcomes(storage) == {("FINISHED", "complete"): 2}


def test_a_loss_that_is_not_finite_fails_its_trial_alone(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    nan = '{"optim.lr": 10.0, "objective.temperature": 0.05}'
    good = '{"optim.lr": 0.05, "objective.temperature": 0.1}'
    words = ["trials=2", "optim.decay=none", "optim.warmup=0", "optim.momentum=0.99"]
    words += ["train.epochs=30", "pruner.name=none", "optim.weight_decay=1"]
    c2vl_sweep("run", sweep_file, *words, f"points=[{nan}, {good}]", cwd=tmp_path)
    storage = tmp_path / "runs"
    assert [t.state for t in trials(storage)] == [TrialState.FAIL, TrialState.COMPLETE]
    assert outcomes(storage) == {("FAILED", "failed"): 1, ("FINISHED", "complete"): 1}
    failed = runs(storage, "trial")["small-0000"]
    text = client(storage).download_artifacts(failed.info.run_id, "error.txt", str(tmp_path))
    assert "lower optim.lr" in Path(text).read_text()
    # One more than is tolerated ends the sweep, with every run closed.
    limits = ["max_failed_trials=0", "name=strict"]
    out = c2vl_sweep("run", sweep_file, *words, *limits, f"points=[{nan}]", cwd=tmp_path, code=3)
    assert "max_failed_trials" in out.stdout
    assert not any(run.info.status == "RUNNING" for run in runs(storage, "trial").values())


def test_an_early_stop_frees_the_cpus_of_a_worker_group(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Two workers take all CPUs: the third trial can start only if the second one's are freed."""
    cpus = (os.cpu_count() or 2) / 2
    words = ["train.workers=2", f"train.cpus_per_worker={cpus:g}", "train.epochs=2"]
    c2vl_sweep("run", sweep_file, *words, cwd=tmp_path)
    expected = {("FINISHED", "complete"): 2, ("KILLED", "pruned"): 1}
    assert outcomes(tmp_path / "runs") == expected
