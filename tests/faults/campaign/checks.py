"""What must hold of a sweep, whatever of it was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mlflow.entities import Run
from optuna.trial import FrozenTrial, TrialState

from c2vl.training.run_folder import RunFolder
from tests.faults.campaign.ground import EPOCHS, NAME, POINTS, TRIALS, Ground
from tests.faults.campaign.results import Result
from tests.faults.processes import digest
from tests.sweeps.stores import epochs, runs, trials

ENDS = {
    TrialState.COMPLETE: ("FINISHED", "complete"),
    TrialState.PRUNED: ("FINISHED", "pruned"),
    TrialState.FAIL: ("FAILED", "failed"),
}


def check(result: Result, folder: Path, ground: Ground) -> None:
    """Collect what does not hold of a sweep, once nothing of it runs any more.

    Args:
        result: of the sweep; what does not hold is added to it.
        folder: the sweep ran in.
        ground: knows what undisturbed trainings come to.
    """
    bad = result.violations
    if "Traceback" in (folder / "output.log").read_text(encoding="utf-8"):
        bad.append("a driver ends with a traceback")
    storage = folder / "runs"
    try:
        tried, logged, parents = trials(storage), runs(storage, "trial"), runs(storage, "sweep")
    except Exception as error:
        bad.append(f"the stores cannot be read: {error!r}")
        return
    result.outcomes = dict(Counter(trial.state.name for trial in tried))
    if [trial.number for trial in tried] != list(range(TRIALS)):
        bad.append(f"trials {[trial.number for trial in tried]} instead of {TRIALS}")
    if sorted(logged) != [f"{NAME}-{number:04d}" for number in range(TRIALS)]:
        bad.append(f"runs {sorted(logged)} for {TRIALS} trials")
    if [run.info.status for run in parents.values()] != ["FINISHED"]:
        bad.append(f"parent runs {[run.info.status for run in parents.values()]}")
    for trial in tried:
        name = f"{NAME}-{trial.number:04d}"
        if name in logged:
            bad += _disagreements(trial, name, logged[name], storage)
    _compare(result, logged, folder, ground)


def _disagreements(trial: FrozenTrial, name: str, run: Run, storage: Path) -> Iterator[str]:
    """Where a trial, its run in MLflow and its folder say different things."""
    said = (run.info.status, run.data.tags.get("outcome"))
    if ENDS.get(trial.state) != said:
        yield f"{name}: Optuna has {trial.state.name}, MLflow {said}"
    steps = epochs(storage, run)
    if steps != list(range(1, len(steps) + 1)):
        yield f"{name}: steps {steps}"
    rows = RunFolder(storage / "sweeps" / NAME / "trials" / name).rows()
    if [row["epoch"] for row in rows] != steps:
        yield f"{name}: {len(rows)} epochs in its folder, steps {steps} in MLflow"
    if trial.state == TrialState.COMPLETE and len(steps) != EPOCHS:
        yield f"{name}: complete after {len(steps)} epochs"


def _compare(result: Result, logged: dict[str, Run], folder: Path, ground: Ground) -> None:
    """Train the most disturbed trial once more, in one go; prefer one that is known already."""
    complete = [n for n, run in logged.items() if run.data.tags.get("outcome") == "complete"]
    if result.plan.workers > 1:  # each needs a Ray of its own: those of the fixed points alone
        complete = [n for n in complete if int(n[-4:]) < POINTS]
    if not complete:
        return
    name = max(complete, key=lambda n: int(logged[n].data.tags["attempts"]))
    result.compared = f"{name}, attempt {logged[name].data.tags['attempts']}"
    run = folder / "runs/sweeps" / NAME / "trials" / name
    if digest(run) != ground.weights(run, folder / "again"):
        result.violations.append(f"{name}: other weights than an undisturbed training's")
