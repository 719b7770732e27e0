"""Finds and repairs differences between MLflow and the study and run folders.

The study records what was tried, and a run folder records a training's figures; MLflow is updated
from them, never the other way. Nothing is trained, and no data is removed from a run: a duplicate
run, or one with a duplicate epoch, is soft-deleted (MLflow can restore it), and a complete new run
replaces it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from mlflow.entities import Run

from c2vl.config.reading import load
from c2vl.training.run_folder import RunFolder
from sweeps.search.study import StudyReader, reader, repeats_of, training_of
from sweeps.spec import provenance
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Outcome, Training
from sweeps.tracking.backlog import OUTCOME, RUNNING
from sweeps.tracking.logged_epochs import LoggedEpochs
from sweeps.tracking.mlflow_store import answering, open_client
from sweeps.tracking.run_sync import KIND, RUN, STATUS, agrees, epoch_metric, find_runs
from sweeps.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

ORPHAN = "orphan"


@dataclass(frozen=True)
class Difference:
    """One difference between MLflow and the sweep's own records.

    Attributes:
        run: the run's name.
        says: description of the difference.
        again: whose run is written again, and how it ended; None: no run of a trial is.
        surplus: ids of runs to delete.
        strangers: ids of runs of no trial.
    """

    run: str
    says: str
    again: tuple[Training, Outcome] | None = None
    surplus: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


def differences(spec: SweepSettings) -> list[Difference]:
    """Compare a sweep that no driver runs with its MLflow runs; change nothing.

    Raises:
        UserError: MLflow does not answer, or the sweep has no study.
    """
    study = reader(spec)
    with answering(spec.tracking_uri):
        client = open_client(spec.tracking_uri)
        runs = runs_of(client, spec)
        return list(_compare(spec, study, client, runs))


def runs_of(client: MlflowClient, spec: SweepSettings) -> list[Run]:
    """Return a sweep's runs, the parent too, the newest first."""
    experiment = client.get_experiment_by_name(spec.tracking.experiment)
    return (
        []
        if experiment is None
        else find_runs(client, experiment.experiment_id, spec.folder.identity())
    )


def started(spec: SweepSettings, study: StudyReader) -> list[tuple[Training, Outcome]]:
    """Return the trainings that have started: the study's trials, their repeats, the final ones.

    One that did not run to its end is "interrupted".
    """
    found = study.ended()
    for trial in study.trials("running"):
        found.append((training_of(spec, trial.number, trial.drawn), "interrupted"))
    repeats = {again.name for trial in study.trials() for again in repeats_of(spec, trial)}
    for folder in sorted(spec.folder.finals.glob("*/experiment.yaml")):
        kind: Literal["repeat", "final"] = "repeat" if folder.parent.name in repeats else "final"
        training = Training(folder.parent.name, load(folder), folder.parent, kind)
        found.append((training, "complete" if training.done else "interrupted"))
    return found


def _compare(
    spec: SweepSettings, study: StudyReader, client: MlflowClient, runs: list[Run]
) -> Iterator[Difference]:
    by_name: dict[str, list[Run]] = {}
    parents = []
    for run in runs:
        if run.data.tags.get(KIND) == "sweep":
            parents.append(run)
        elif run.data.tags.get(OUTCOME) != ORPHAN:
            by_name.setdefault(run.data.tags.get(RUN, ""), []).append(run)
    if not parents:
        yield Difference(spec.name, "the sweep has no run")
    elif parents[0].info.status == RUNNING:
        yield Difference(spec.name, "is RUNNING, and nothing runs it")
    logged = LoggedEpochs.of_sweep(spec)
    for training, outcome in started(spec, study):
        yield from _of_one(training, outcome, by_name.pop(training.name, []), client, logged)
    for name, strangers in by_name.items():
        ids = tuple(run.info.run_id for run in strangers)
        yield Difference(name, "a run of no trial of the study", strangers=ids)


def _of_one(
    training: Training,
    outcome: Outcome,
    runs: list[Run],
    client: MlflowClient,
    logged: LoggedEpochs,
) -> Iterator[Difference]:
    again = (training, outcome)
    if not runs:
        if outcome != "interrupted":  # a trial that has not begun needs none
            yield Difference(training.name, f"{outcome}, and has no run", again)
        return
    logs = [
        [m.step for m in client.get_metric_history(r.info.run_id, epoch_metric(r))] for r in runs
    ]
    (first, steps), *others = sorted(
        zip(runs, logs, strict=True), key=lambda it: -max(it[1], default=0)
    )
    if others:
        ids = tuple(run.info.run_id for run, _ in others)
        yield Difference(training.name, f"has {len(runs)} runs", surplus=ids)
    if repeated := sorted(step for step, times in Counter(steps).items() if times > 1):
        says = f"epochs stand there twice: {_ranges(repeated)}"
        yield Difference(training.name, says, again, surplus=(first.info.run_id,))
        return
    if not first.data.params:  # what opened it was lost
        yield Difference(training.name, "the run has no parameters", again)
    if not _agrees(training, outcome, first):
        tag = first.data.tags.get(OUTCOME, "no outcome")
        says = f"{outcome}, but the run is {first.info.status} ({tag})"
        yield Difference(training.name, says, again)
    trained = map(int, RunFolder(training.folder).table(["epoch"])[:, 0])
    wanted = logged.of(trained, ended=outcome != "interrupted")
    if missing := sorted(wanted - set(steps)):
        yield Difference(training.name, f"epochs are missing: {_ranges(missing)}", again)


def _agrees(training: Training, outcome: Outcome, run: Run) -> bool:
    if training.kind != "trial" and outcome == "interrupted":  # it may have failed: no study knows
        return str(run.info.status) != RUNNING
    return agrees((run.info.status, run.data.tags.get(OUTCOME)), (STATUS[outcome], outcome))


def _ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 7]`` → ``1-3, 7``."""
    together = groupby(enumerate(numbers), lambda item: item[1] - item[0])
    parts = [[number for _, number in part] for _, part in together]
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def mend(spec: SweepSettings, found: list[Difference]) -> None:
    """Repair the differences; the caller holds the sweep's lock.

    Raises:
        UserError: MLflow does not answer, or stopped answering before all was written.
    """
    with answering(spec.tracking_uri):
        _mend(spec, found)


def _mend(spec: SweepSettings, found: list[Difference]) -> None:
    client = open_client(spec.tracking_uri)
    parent = next((r for r in runs_of(client, spec) if r.data.tags.get(KIND) == "sweep"), None)
    for difference in found:
        for run_id in difference.surplus:
            client.delete_run(run_id)
        for run_id in difference.strangers:
            client.set_tag(run_id, OUTCOME, ORPHAN)
            client.set_terminated(run_id, "KILLED")
    again = {one.run: one.again for one in found if one.again is not None}
    if not again and not any(difference.run == spec.name for difference in found):
        return
    tracker = Tracker(spec, spec.folder.identity())
    if parent is None:
        tracker.begin(provenance.data_manifest(spec.base))
    tracker.reconcile(again.values(), always=True)
    ended = parent is not None and parent.info.status != RUNNING
    before = parent.data.tags.get(OUTCOME) if ended and parent is not None else None
    tracker.finish(next((known for known in STATUS if known == before), "interrupted"))
