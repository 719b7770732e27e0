"""What a sweep comes through: kills of it all, of one trial, Ctrl-C, failures, early stops."""

from __future__ import annotations

import json
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from c2vl.support.files import write_text
from c2vl.training.run_folder import RunFolder
from tests.faults.processes import (
    digest,
    kill,
    part,
    running,
    undisturbed,
    wait_for_epoch,
    wait_until,
)
from tests.sweeps.stores import client, epochs, outcomes, runs, trials

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]

LONG = ["train.epochs=12", "train.evaluate_every=6", "pruner.name=none"]
TWO = ["train.workers=2", "train.cpus_per_worker=0.5"]
FOUR = ["train.workers=4", "train.cpus_per_worker=0.25"]


def test_killed_and_resumed(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials"
    words = [*LONG, "trials=2", "points=[]"]
    with running(sweep_file, *words, cwd=tmp_path) as process:
        # A second driver is refused, and the first does not notice.
        wait_until(lambda: (folder.parent / "id").exists(), process)
        second = c2vl_sweep("run", sweep_file, *words, cwd=tmp_path, code=2)
        assert f"small: is running already (process {process.pid} on " in second.stdout
        wait_for_epoch(process, folder / "small-0001", 3)
        kill(process)
    newest = max((folder / "small-0001/checkpoints").glob("step-*.pt"))
    with newest.open("r+b") as file:  # as a power cut may leave it
        file.truncate(newest.stat().st_size // 2)
    states = [trial.state for trial in trials(storage)]
    assert TrialState.RUNNING in states
    assert any(run.info.status == "RUNNING" for run in runs(storage, "trial").values())
    c2vl_sweep("resume", "small", cwd=tmp_path)
    assert [t.state for t in trials(storage) if t.state != TrialState.COMPLETE] == []
    assert [trial.number for trial in trials(storage)] == [0, 1]
    assert outcomes(storage) == {("FINISHED", "complete"): 2}
    assert outcomes(storage, "sweep") == {("FINISHED", "complete"): 1}
    for run in runs(storage, "trial").values():
        assert epochs(storage, run) == list(range(1, 13))
    assert runs(storage, "trial")["small-0001"].data.tags["attempts"] == "2"
    # The trial that was cut off ends as if nothing had happened.
    again = undisturbed(folder / "small-0001", tmp_path / "undisturbed")
    assert digest(folder / "small-0001") == again


# in `make test`: a node under a group (test_nodes.py), a worker without the sweep around
# (tests/training/test_train_group.py)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "words"),
    [
        pytest.param("trial", TWO, id="trial of two workers"),
        pytest.param("worker", FOUR, id="worker of four"),
    ],
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


@pytest.mark.parametrize("by", ["ctrl-c", pytest.param("kill", marks=pytest.mark.slow)])
def test_ctrl_c_stops_cleanly_and_says_how_to_resume(
    by: str,
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Asked, or killed, while a trial trains with its second seed, which then goes on."""
    storage = tmp_path / "runs"
    words = [*LONG, "trials=2", "points=[]", "repeats=2", "final.seeds=[0,1]"]
    with running(sweep_file, *words, cwd=tmp_path) as process:
        seconds = storage / "sweeps/small/finals"
        wait_until(lambda: any(seconds.glob("*/metrics.jsonl")), process)
        if by == "kill":
            kill(process)
        else:
            os.kill(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 130, out
            assert "c2vl-sweep resume small" in out
            assert "Traceback" not in out
            assert ("KILLED", "interrupted") in outcomes(storage, "repeat")
            assert outcomes(storage, "sweep") == {("KILLED", "interrupted"): 1}
    # as a scheduler starts a job again: the same command, which continues what it has begun
    c2vl_sweep("run", "--or-resume", sweep_file, *words, cwd=tmp_path)
    assert outcomes(storage) == {("FINISHED", "complete"): 2}
    assert set(outcomes(storage, "repeat")) == {("FINISHED", "complete")}
    assert not outcomes(storage, "final")  # the choice over seeds finds them done
    lost, run = next(iter(runs(storage, "repeat").items()))
    client(storage).delete_run(run.info.run_id)
    c2vl_sweep("reconcile", "small", cwd=tmp_path)
    repeats = runs(storage, "repeat")
    assert lost in repeats and not outcomes(storage, "final")
    assert all(epochs(storage, run) == list(range(1, 13)) for run in repeats.values())
    by_seed = {trial.number: trial.user_attrs["values_by_seed"] for trial in trials(storage)}
    assert repeats.keys() == {
        f"small-final-{number:04d}-s1" for number, values in by_seed.items() if "1" in values
    }
    for trial in trials(storage):
        assert trial.value == pytest.approx(statistics.mean(by_seed[trial.number].values()))


def test_a_driver_whose_own_node_is_lost_ends(sweep_file: Path, tmp_path: Path) -> None:
    """It would wait for room for ever: nothing but Ray's record of nodes tells it."""
    storage = tmp_path / "runs"
    soon = {"RAY_health_check_failure_threshold": "1", "RAY_health_check_period_ms": "1000"}
    words = [*LONG, "trials=2", "points=[]"]
    with running(sweep_file, *words, cwd=tmp_path, **soon) as process:
        wait_for_epoch(process, storage / "sweeps/small/trials/small-0000", 2)
        part(process, "node").kill()
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 2, out
    assert "driver runs on is lost; then: c2vl-sweep resume small" in " ".join(out.split())
    assert not any("RUNNING" in state for state in outcomes(storage))
    assert outcomes(storage, "sweep") == {("KILLED", "interrupted"): 1}


def test_a_loss_that_is_not_finite_fails_its_trial_alone(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    nan = '{"optim.lr": 10.0, "objective.temperature": 0.05}'
    more = '{"optim.lr": 9.9, "objective.temperature": 0.05}'
    good = '{"optim.lr": 0.05, "objective.temperature": 0.1}'
    words = ["trials=3", f"points=[{nan}, {good}, {more}]", "max_failed_trials=1"]
    words += ["optim.decay=none", "optim.warmup=0", "optim.momentum=0.99", "optim.weight_decay=1"]
    words += ["train.epochs=30", "train.evaluate_every=30", "pruner.name=none"]
    out = c2vl_sweep("run", sweep_file, *words, cwd=tmp_path, code=3)
    storage = tmp_path / "runs"
    states = [TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL]
    assert [t.state for t in trials(storage)] == states
    assert outcomes(storage) == {("FAILED", "failed"): 2, ("FINISHED", "complete"): 1}
    failed = runs(storage, "trial")["small-0000"]
    text = client(storage).download_artifacts(failed.info.run_id, "error.txt", str(tmp_path))
    assert "lower optim.lr" in Path(text).read_text()
    # One more than is tolerated ends the sweep, with every run closed.
    assert "max_failed_trials" in out.stdout
    assert "RUNNING" not in {run.info.status for run in runs(storage, "sweep").values()}


def test_an_early_stop_frees_the_cpus_of_a_worker_group(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Two workers take all CPUs: the third trial can start only if the second one's are freed."""
    cpus = (os.cpu_count() or 2) / 2
    words = ["train.workers=2", f"train.cpus_per_worker={cpus:g}", "train.epochs=2"]
    c2vl_sweep("run", sweep_file, *words, cwd=tmp_path)
    expected = {("FINISHED", "complete"): 2, ("FINISHED", "pruned"): 1}
    assert outcomes(tmp_path / "runs") == expected


CLOCK = """
import os, time
REAL = {name: getattr(time, name) for name in ("time", "time_ns")}
def offset():
    with open(os.environ["CLOCK"]) as file:
        return int(file.read() or 0)
time.time = lambda: REAL["time"]() + offset()
time.time_ns = lambda: REAL["time_ns"]() + offset() * 10**9
"""


@pytest.mark.slow
def test_a_clock_that_jumps_changes_no_duration(
    sweep_file: Path, c2vl_sweep: Callable[..., Any], tmp_path: Path
) -> None:
    """Every Python process of the sweep sees the clock leap by hours and back by a day.

    Extended afterwards, a day later by its own records, it runs none of its trials again.
    """
    storage = tmp_path / "runs"
    folder = storage / "sweeps/small/trials"
    (tmp_path / "code").mkdir()
    (tmp_path / "code/sitecustomize.py").write_text(CLOCK)
    clock = tmp_path / "offset"
    clock.write_text("0")
    variables = {"PYTHONPATH": str(tmp_path / "code"), "CLOCK": str(clock)}
    words = ["trials=2", "points=[]", "max_hours=0.5"]
    with running(sweep_file, *LONG, *words, cwd=tmp_path, **variables) as process:
        for trial, seconds in (("small-0000", 4 * 3600), ("small-0001", -24 * 3600)):
            wait_for_epoch(process, folder / trial, 3)
            write_text(clock, str(seconds))
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    assert outcomes(storage) == {("FINISHED", "complete"): 2}  # the budget was not used up
    for name, run in runs(storage, "trial").items():
        assert sorted(epochs(storage, run)) == list(range(1, 13))
        last = RunFolder(folder / name).rows()[-1]
        assert run.data.metrics["train/loss"] == last["loss"]  # that of the last epoch
        done = json.loads((folder / name / "done.json").read_text())
        for seconds in (done["seconds"], run.data.metrics["train/wall_seconds"]):
            assert 0 < seconds < 600
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/done.json")}
    c2vl_sweep("extend", "small", "--trials", 1, cwd=tmp_path)
    assert outcomes(storage) == {("FINISHED", "complete"): 3}
    assert {run.data.tags["attempts"] for run in runs(storage, "trial").values()} == {"1"}
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert sorted(epochs(storage, runs(storage, "trial")["small-0002"])) == list(range(1, 13))
