"""Runs a sweep from its file to its report; what a kill cut off is gone on with.

The folder of a sweep, ``STORAGE/sweeps/NAME``::

    id  sweep.yaml  study.db what was asked for, and Optuna's record of what was tried
    provenance.json          code, versions and data of each start
    trials/  finals/         the run folders of the trainings
    final.json               who won, and what the test part said
    encoder/  report/        the winner's encoder; tables and pictures
    final-1.json  encoder-1/ the same before an extension
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from c2vl.encoder.ledger import scorings
from c2vl.support.errors import StorageFull, TrainingError, UserError
from c2vl.support.files import write_text
from sweeps.choosing.candidates import choose, rounds
from sweeps.choosing.disk_cleanup import Keeper
from sweeps.choosing.export import keep_encoder, publish
from sweeps.choosing.finals import (
    Final,
    references,
    results_folder,
    score_runs,
)
from sweeps.planning.cluster_resources import Concurrency, NodeLost, cluster, trial_resources
from sweeps.planning.nodes import require_shared
from sweeps.report import write_report
from sweeps.running import trial
from sweeps.running.engine import Listener, run_jobs
from sweeps.running.progress import Board, show_table
from sweeps.running.stopping import Stop, heed_signals, stopping
from sweeps.search.trial_source import StudySource
from sweeps.search.warm_start import check_warm_start
from sweeps.spec import provenance
from sweeps.spec.checks import data_needs
from sweeps.spec.lock import locked
from sweeps.spec.reading import dump_sweep, read_sweep
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import End, FixedSource, Job, Row, Source
from sweeps.tracking.tracker import Tracker


class Interrupted(Exception):
    """The sweep was asked to stop, and has: it can be resumed."""


def run(spec: SweepSettings, *, address: str | None = None, resume: bool = False) -> Final:
    """Run a sweep to its end: trials, final trainings, test figures, report, registered encoder.

    Args:
        spec: the checked settings.
        address: of a Ray cluster; default: RAY_ADDRESS, else one of its own on this machine.
        resume: go on with a sweep that is there, rather than start one; of more trials than it
            had, the new number stands in its ``sweep.yaml`` from the moment that it starts.

    Raises:
        UserError: nothing was started, or nothing useful can come of it; the message says why.
            A start that fails leaves nothing behind.
        StorageFull: the disk is full; trials wait, unharmed, for a resume.
        NodeLost: the Ray node that this process runs on is gone; likewise.
        TrainingError: more than ``max_failed_trials`` failed.
        Interrupted: a stop was asked for (:mod:`sweeps.running.stopping`).
    """
    if not resume:  # a sweep that has begun has what it takes from the earlier one
        check_warm_start(spec)
    data, *_ = [provenance.data_manifest(experiment) for experiment in data_needs(spec)]
    with (
        locked(spec.folder, spec.name, make=not resume),
        _claimed(spec, resume) as claim,
        stopping(spec.folder) as stop,
        cluster(address),
    ):
        heed_signals(stop)
        concurrency = Concurrency(spec.base.train, spec.concurrency, spec.autoscaling)
        require_shared(spec.storage, data_needs(spec))
        provenance.require_same(spec.folder, data)
        tracker = Tracker(spec, claim.identity, must_answer=not resume)
        try:
            source = StudySource(spec, claim.identity)
        except BaseException:
            if claim.kept:
                tracker.finish("interrupted")
            else:
                tracker.discard()
            raise
        claim.keep()
        provenance.record(spec.folder, data)
        try:
            return _run(spec, source, tracker, stop, concurrency, data)
        except (Interrupted, NodeLost):
            tracker.finish("interrupted")
            raise
        except StorageFull:
            tracker.finish("interrupted", patience=5.0)  # its database may be on the same disk
            raise
        except BaseException:
            tracker.finish("failed")
            raise
        finally:
            source.close()


def _run(
    spec: SweepSettings,
    source: StudySource,
    tracker: Tracker,
    stop: Stop,
    concurrency: Concurrency,
    data: dict[str, Any],
) -> Final:
    tracker.begin(data)
    if len(source):
        spec.folder.set_aside()
    ended = source.ended()
    tracker.reconcile(ended)
    keeper = Keeper(spec, ended)
    ranked = source.ranked()
    board = Board(
        spec.name,
        spec.trials,
        source.counts(),
        spec.objectives[0],
        ranked[0][1] if ranked else None,
    )
    limit = FailureLimit(
        stop, source.counts()["failed"], spec.max_failed_trials, FailureLimit.TRIALS
    )
    with board:
        _train(spec, source, stop, concurrency, [tracker, board, limit, keeper, source.budget])
    tracker.keep(keeper.encoders())
    ranked = source.ranked()
    if not ranked:
        raise UserError(f"{spec.name}: {_nobody(spec, source)}, so no winner was chosen")

    def complete(title: str, jobs: list[Job]) -> None:
        tracker.reconcile([(job, "complete") for job in jobs if job.done])
        if left := [job for job in jobs if not job.done]:
            board = Board(f"{spec.name} {title}", len(left), Counter(), spec.objectives[0])
            board.say(f"{title}: {', '.join(job.name for job in left)}")
            limit = FailureLimit(stop, 0, 0, FailureLimit.FINALS)
            listeners: list[Listener] = [tracker, board, limit, keeper, source.budget]
            with board:
                _train(spec, FixedSource(left), stop, concurrency, listeners)

    for jobs in rounds(spec, ranked):
        complete("candidates", jobs)
    final = choose(spec, ranked)
    if len(final.judged) > 1 or len(final.validation) > 1:
        show_table(final.candidates(), f"{spec.name}: candidates on validation")
    if spec.final.test:
        winner = next(job for job, _ in ranked if job.number == final.trial)
        complete("references", references(spec, ranked, winner))
        final = score_runs(spec, final, ranked, winner, stop)
        _stop_if_asked(spec, stop)
        show_table(final.table(), final.title)
    folder = keep_encoder(spec, final)
    report = write_report(spec, source.study, final)
    figures = {**source.counts(), **final.figures()}
    folders = {"report": report, "encoder": folder}
    if spec.final.test:
        folders["results"] = results_folder(spec)
        figures["test_scorings"] = float(scorings(folders["results"]))
    tracker.whole(figures, folders)
    version = publish(spec, final, folder, tracker)
    source.budget.note()
    tracker.finish("complete")
    board.say(f"encoder: {folder}\nreport:  {report}\nmodel:   {version}")
    return final


def _train(
    spec: SweepSettings,
    source: Source,
    stop: Stop,
    concurrency: Concurrency,
    listeners: list[Listener],
) -> None:
    tune = spec.folder.tune
    shutil.rmtree(tune, ignore_errors=True)  # the study and the run folders hold all that counts
    run_jobs(
        source,
        name=spec.name,
        folder=tune,
        trainable=trial.run,
        listeners=listeners,
        stop=stop,
        concurrency=concurrency,
        bundles=trial_resources(spec.base),
        max_failures=spec.max_failures,
    )
    _stop_if_asked(spec, stop)
    shutil.rmtree(tune, ignore_errors=True)


def _stop_if_asked(spec: SweepSettings, stop: Stop) -> None:
    if not stop:
        return
    again = f"c2vl-sweep resume {spec.name}"
    if stop.reason == FailureLimit.TRIALS:
        raise TrainingError(
            f"{spec.name}: more trials failed than max_failed_trials ({spec.max_failed_trials}) "
            f"tolerates; their errors are in MLflow. Once the cause is gone: {again} "
            "max_failed_trials=N"
        )
    if stop.reason == FailureLimit.FINALS:
        raise TrainingError(
            f"{spec.name}: a training of the final choice failed; its error is in MLflow. Once the "
            f"cause is gone: {again}"
        )
    if stop.error is not None:
        raise type(stop.error)(f"{stop.error}; then: {again}")
    raise Interrupted(f"stopped; go on with: {again}")


def _nobody(spec: SweepSettings, source: StudySource) -> str:
    """Why there is no trial to choose."""
    counts = source.counts()
    if counts["complete"]:
        return f"each of the {counts['complete']} complete trials breaks a constraint on figures"
    if not counts.total():
        return "its budget (max_hours, max_cpu_hours, max_gpu_hours) was spent before any trial"
    ended = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    return f"no trial ran to its end ({ended}); their errors are in MLflow"


class FailureLimit:
    """Stops a run of jobs when too many have failed, for a reason: a listener of the engine."""

    TRIALS, FINALS = "trials failed", "a final training failed"

    def __init__(self, stop: Stop, failed: int, limit: int, reason: str) -> None:
        self._stop, self._failed, self._limit, self._reason = stop, failed, limit, reason

    def started(self, job: Job, attempt: int) -> None:
        """Nothing to count."""

    def reported(self, job: Job, row: Row) -> None:
        """Nothing to count."""

    def ended(self, job: Job, end: End) -> None:
        """Count a failure."""
        self._failed += end.outcome == "failed"
        if self._failed > self._limit:
            self._stop.request(self._reason)


@dataclass
class Claim:
    """A sweep's folder while it is being started: dropped again unless it is kept.

    Attributes:
        identity: tells this sweep from a former one of the same name, in the study and in MLflow.
    """

    spec: SweepSettings
    identity: str
    kept: bool

    def keep(self) -> None:
        """The sweep has started: from now on it can be resumed, to the trials asked for now."""
        spec, path = self.spec, self.spec.folder.settings
        if not path.exists():
            write_text(path, dump_sweep(spec))
        else:
            known = read_sweep(spec.storage, spec.name)
            if known.trials < spec.trials:
                more = known.model_copy(update={"trials": spec.trials})
                write_text(path, dump_sweep(more))
        self.kept = True


@contextmanager
def _claimed(spec: SweepSettings, resume: bool) -> Iterator[Claim]:
    there = spec.folder.begun
    if there and not resume:
        raise UserError(
            f"{spec.name}: there is a sweep of this name in {spec.folder}; go on with it: "
            f"c2vl-sweep resume {spec.name}, or start another: name=OTHER"
        )
    if resume and not there:
        raise UserError(f"{spec.name}: there is no such sweep any more in {spec.folder}")
    if not there and (left := spec.folder.left()):
        raise UserError(
            f"{spec.folder}: holds {', '.join(left)} of a sweep, and no sweep.yaml; bring that "
            "back (the sweep's run in MLflow has it, without passwords), or start another: "
            "name=OTHER"
        )
    if not there:
        spec.folder.make_identity()
    claim = Claim(spec, spec.folder.identity(), kept=there)
    try:
        yield claim
    finally:
        if not claim.kept:
            shutil.rmtree(spec.folder)
