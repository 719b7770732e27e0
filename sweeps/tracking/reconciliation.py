"""Where MLflow says something else than the study and the run folders, and putting it right.

The study is the record of what was tried, and a training's folder that of its figures; MLflow is
brought to them, never the other way. Nothing is trained and nothing is taken out of a run: one that
stands there twice, has an epoch twice or no parameters, is deleted as MLflow deletes (it can be
restored there), and its place is taken by one with everything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlflow.entities import Run
from optuna.trial import TrialState

from c2vl.config.reading import load
from c2vl.training.run_folder import RunFolder
from sweeps.search.study import StudyReader, reader
from sweeps.spec import provenance
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import Job, Outcome
from sweeps.tracking.mlflow_store import answering, open_client
from sweeps.tracking.run_writer import IDENTITY, KIND, OUTCOME, RUN, STATUS, metrics_of
from sweeps.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

ORPHAN = "orphan"
BATCH = 900  # MLflow takes 1000 metrics at once
Kind = Literal["absent", "outcome", "steps", "twice", "repeated", "bare", "stranger", "parent"]


@dataclass(frozen=True)
class Difference:
    """One thing that MLflow does not say as it is.

    Attributes:
        kind: "absent": no run; "outcome": the run ended otherwise, or has not ended; "steps":
            epochs are missing; "twice": more runs than one; "repeated": an epoch stands there
            twice; "bare": it has no parameters; "stranger": a run of no trial; "parent": about
            the run of the whole sweep.
        run: its name.
        says: in words.
        job: the training; None for a stranger and the parent.
        outcome: how the training ended.
        run_ids: MLflow's ids of the runs concerned, the one to keep first.
        epochs: those that are missing.
    """

    kind: Kind
    run: str
    says: str
    job: Job | None = None
    outcome: Outcome = "interrupted"
    run_ids: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.says


def differences(spec: SweepSettings) -> list[Difference]:
    """Compare a sweep that nobody drives with its runs in MLflow; reads only.

    Raises:
        UserError: MLflow does not answer, or the sweep has no study.
    """
    source = reader(spec)
    with answering(spec.tracking_uri):
        client = open_client(spec.tracking_uri)
        runs = runs_of(client, spec)
        return list(_compare(spec, source, client, runs))


def runs_of(client: MlflowClient, spec: SweepSettings) -> list[Run]:
    """Return a sweep's runs, the parent too, the newest first."""
    experiment = client.get_experiment_by_name(spec.tracking.experiment)
    found: list[Run] = []
    token = None
    while experiment is not None:
        query = f"tags.{IDENTITY} = '{spec.folder.identity()}'"
        page = client.search_runs(
            [experiment.experiment_id], query, max_results=1000, page_token=token
        )
        found += page
        if not (token := page.token):
            break
    return found


def trainings(spec: SweepSettings, source: StudyReader) -> list[tuple[Job, Outcome]]:
    """Return what was begun: the study's trials and the trainings after them.

    A trial that is cut off, and a final training that has not run to its end, are "interrupted".
    """
    found = source.ended()
    for trial in source.trials(TrialState.RUNNING):
        found.append((source.job(trial.number, trial.params), "interrupted"))
    for folder in sorted(spec.folder.finals.glob("*/experiment.yaml")):
        job = Job(folder.parent.name, load(folder), folder.parent, "final")
        found.append((job, "complete" if job.done else "interrupted"))
    return found


def _compare(
    spec: SweepSettings, source: StudyReader, client: MlflowClient, runs: list[Run]
) -> Iterator[Difference]:
    by_name: dict[str, list[Run]] = {}
    parents = []
    for run in runs:
        if run.data.tags.get(KIND) == "sweep":
            parents.append(run)
        elif run.data.tags.get(OUTCOME) != ORPHAN:
            by_name.setdefault(run.data.tags.get(RUN, ""), []).append(run)
    if not parents:
        yield Difference("parent", spec.name, "the sweep has no run")
    elif parents[0].info.status == "RUNNING":
        yield Difference("parent", spec.name, "is RUNNING, and nothing runs it")
    for job, outcome in trainings(spec, source):
        yield from _of_one(job, outcome, by_name.pop(job.name, []), client)
    for name, strangers in by_name.items():
        ids = tuple(run.info.run_id for run in strangers)
        yield Difference("stranger", name, "a run of no trial of the study", run_ids=ids)


def _of_one(
    job: Job, outcome: Outcome, runs: list[Run], client: MlflowClient
) -> Iterator[Difference]:
    if not runs:
        if outcome != "interrupted":  # a trial that has not begun needs none
            yield Difference("absent", job.name, f"{outcome}, and has no run", job, outcome)
        return
    runs = sorted(runs, key=lambda run: -run.data.metrics.get("epoch", 0.0))
    ids = tuple(run.info.run_id for run in runs)
    if len(runs) > 1:
        yield Difference("twice", job.name, f"has {len(runs)} runs", job, outcome, ids)
    steps = [metric.step for metric in client.get_metric_history(ids[0], "epoch")]
    repeated = sorted(step for step, times in Counter(steps).items() if times > 1)
    if repeated:
        says = f"epochs stand there twice: {_ranges(repeated)}"
        yield Difference("repeated", job.name, says, job, outcome, ids)
        return  # it is written anew, with everything
    if not runs[0].data.params:  # what opened it was lost
        yield Difference("bare", job.name, "the run has no parameters", job, outcome, ids)
        return  # likewise
    if not _agrees(job, outcome, runs[0]):
        tag = runs[0].data.tags.get(OUTCOME, "no outcome")
        says = f"{outcome}, but the run is {runs[0].info.status} ({tag})"
        yield Difference("outcome", job.name, says, job, outcome, ids)
    if missing := sorted({row["epoch"] for row in job.rows()} - set(steps)):
        says = f"epochs are missing: {_ranges(missing)}"
        yield Difference("steps", job.name, says, job, outcome, ids, tuple(missing))


def _agrees(job: Job, outcome: Outcome, run: Run) -> bool:
    if job.kind == "final" and outcome == "interrupted":  # it may have failed: no study knows
        return str(run.info.status) != "RUNNING"
    return bool(run.info.status == STATUS[outcome] and run.data.tags.get(OUTCOME) == outcome)


def _ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 7]`` → ``1-3, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def mend(spec: SweepSettings, found: list[Difference]) -> None:
    """Put the differences right; the caller holds the sweep's lock.

    Raises:
        UserError: MLflow does not answer, or was away before all was written.
    """
    with answering(spec.tracking_uri):
        _mend(spec, found)


def _mend(spec: SweepSettings, found: list[Difference]) -> None:
    client = open_client(spec.tracking_uri)
    parent = next((r for r in runs_of(client, spec) if r.data.tags.get(KIND) == "sweep"), None)
    anew: list[tuple[Job, Outcome]] = []
    for difference in found:
        match difference.kind:
            case "twice":
                for run_id in difference.run_ids[1:]:
                    client.delete_run(run_id)
            case "repeated" | "bare":
                client.delete_run(difference.run_ids[0])
            case "stranger":
                for run_id in difference.run_ids:
                    client.set_tag(run_id, OUTCOME, ORPHAN)
                    client.set_terminated(run_id, "KILLED")
            case "steps":
                assert difference.job is not None
                _fill(client, difference.run_ids[0], difference.job.folder, difference.epochs)
        if difference.kind in ("absent", "outcome", "repeated", "bare"):
            assert difference.job is not None
            anew.append((difference.job, difference.outcome))
    if anew or any(difference.kind == "parent" for difference in found):
        _write(spec, anew, parent)


def _write(spec: SweepSettings, anew: list[tuple[Job, Outcome]], parent: Run | None) -> None:
    tracker = Tracker(spec, spec.folder.identity())
    if parent is None:
        tracker.begin(provenance.data_manifest(spec.base))
    tracker.reconcile(anew)
    ended = parent is not None and parent.info.status != "RUNNING"
    before = parent.data.tags.get(OUTCOME, "") if ended and parent is not None else ""
    outcome: Outcome = "interrupted"
    for known in STATUS:
        if known == before:
            outcome = known
    tracker.finish(outcome)


def _fill(client: MlflowClient, run_id: str, folder: Path, epochs: tuple[int, ...]) -> None:
    now = int(time.time() * 1000)
    rows = [row for row in RunFolder(folder).rows() if row["epoch"] in epochs]
    metrics = [metric for row in rows for metric in metrics_of(row, now)]
    for first in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + BATCH])
