"""Runs jobs on Ray Tune: adapters between a source of jobs and Tune's searcher and scheduler.

Tune places trials, retries lost ones and carries their reports. What to run and when to stop it is
asked of the :class:`~sweeps.spec.training_job.Source`; it and the listeners
are told what happened.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.callback import Callback
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from c2vl.config.reading import resolved
from c2vl.support.errors import StorageFull, UserError, is_full
from sweeps.planning.cluster_resources import NodeLost, OwnNode, living_node_ids
from sweeps.running.stopping import Stop
from sweeps.running.trial import ERROR, NODE, OUTCOME
from sweeps.spec.training_job import End, Job, Outcome, Row, Source

Trainable = Callable[[dict[str, Any]], None]
PASSES = 3
RETURNS = 3  # times that a job is handed out anew because its process was lost before it started
NODE_NEWS = 120.0  # seconds after which a node's death has reached everybody


class Listener(Protocol):
    """Is told what happens, on the driver."""

    def started(self, job: Job, attempt: int) -> None:
        """A job starts, or starts again after a loss."""

    def reported(self, job: Job, row: Row) -> None:
        """A job has finished an epoch."""

    def ended(self, job: Job, end: End) -> None:
        """A job has ended."""


class Session:
    """The state that the adapters share; Tune's pickles of them leave it behind.

    Args:
        source: gives jobs.
        listeners: are told.
        stop: asked before each job.
    """

    def __init__(
        self,
        source: Source,
        listeners: Iterable[Listener],
        stop: Stop,
    ) -> None:
        self.source, self.listeners, self.stop = source, list(listeners), stop
        self.jobs: dict[str, Job] = {}
        self._last: dict[str, Row] = {}
        self._final: dict[str, Row] = {}
        self._nodes: dict[str, str] = {}
        self._attempts: dict[str, int] = {}  # by the job's name
        self._begun: set[str] = set()
        self._returned: deque[Job] = deque()
        self._returns: Counter[str] = Counter()
        self._living: dict[str, set[str]] = {}
        self._suspects: dict[str, tuple[float, set[str]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def left(self) -> int:
        """Jobs that are still to be given out."""
        return len(self._returned) + len(self.source)

    def over(self) -> bool:
        """Say whether no more jobs are to come."""
        return bool(self.stop) or not self.left()

    def take(self, trial_id: str) -> Job | None:
        """Give the next job to a Tune trial; None where there is none, or none yet."""
        if self.stop:
            return None
        job = self._returned.popleft() if self._returned else self.source.next()
        if job is not None:
            self.jobs[trial_id] = job
        return job

    def started(self, trial: Trial) -> None:
        """A Tune trial has its process, the first one or another after a loss."""
        job, trial_id = self.jobs[trial.trial_id], trial.trial_id
        self.forgive(trial)
        self._living[trial_id] = living_node_ids()
        self._begun.add(trial_id)
        self._attempts[job.name] = self._attempts.get(job.name, 0) + 1
        for listener in self.listeners:
            listener.started(job, self._attempts[job.name])

    def failed(self, trial: Trial) -> None:
        """A Tune trial was lost, and will start again."""
        self._begun.discard(trial.trial_id)
        # One that gets the process of an earlier trial can lose it before it has started
        living = self._living.get(trial.trial_id) or living_node_ids()
        self._suspects[trial.trial_id] = (time.monotonic(), living)

    def forgive(self, trial: Trial) -> None:
        """Do not count a loss that a node's going away explains.

        Tune spares a trial what an autoscaler announces, but most spot nodes just go. That a node
        is gone is known some seconds after its processes are, so that this is asked repeatedly.
        """
        if trial.trial_id not in self._suspects:
            return
        when, living = self._suspects[trial.trial_id]
        if living - living_node_ids():
            trial.run_metadata.num_failures = max(0, trial.run_metadata.num_failures - 1)
            when = 0.0
        if time.monotonic() > when + NODE_NEWS:
            del self._suspects[trial.trial_id]

    def result(self, trial_id: str, result: Row) -> bool:
        """Take a report; True asks to stop the trial."""
        job = self.jobs[trial_id]
        if OUTCOME in result:
            self._final[trial_id] = result
        self._nodes[trial_id] = str(result.get(NODE, ""))
        row = {
            key: value
            for key, value in result.items()
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and key not in _OWN
            and "/" not in key
        }
        if "epoch" not in row:
            return False
        self._last[trial_id] = row
        for listener in self.listeners:
            listener.reported(job, row)
        return OUTCOME not in result and self.source.report(job, row)

    def ended(self, trial_id: str, pruned: bool = False, error: str = "") -> None:
        """A Tune trial has ended: in its own way, stopped by the source, or by an error."""
        job = self.jobs.pop(trial_id)
        if error and trial_id not in self._begun and self._returns[job.name] < RETURNS:
            # Tune tries again what it has started, but not what it gave to a process of an earlier
            # trial that was dead by then.
            self._returns[job.name] += 1
            self._returned.append(job)
            return
        final = self._final.pop(trial_id, {})
        outcome: Outcome = final.get(OUTCOME, "interrupted")
        if pruned:
            outcome = "pruned"
        if error:
            outcome = "failed"
        outcome = self.source.end(job, outcome, self._last.pop(trial_id, {}))
        said = error or str(final.get(ERROR, ""))
        if outcome == "failed" and not said:
            said = self.source.reason(job)
        if outcome == "interrupted" and said:  # a full disk: the others would meet it as well
            self.stop.error = StorageFull(said)
            self.stop.request("storage")
        end = End(outcome, said, self._nodes.pop(trial_id, ""), job.warnings())
        for listener in self.listeners:
            listener.ended(job, end)

    def recall(self) -> None:
        """Take back what Tune lost track of, to be given out again."""
        if not self.stop:
            self._returned += self.jobs.values()
            self.jobs.clear()

    def close(self) -> None:
        """Tell jobs that were given out, and have not ended, as interrupted."""
        self.jobs |= {f"returned {place}": job for place, job in enumerate(self._returned)}
        self._returned.clear()
        for trial_id in list(self.jobs):
            self.ended(trial_id)


_OWN = {
    *("timestamp", "training_iteration", "time_this_iter_s", "time_total_s", "pid"),
    *("time_since_restore", "iterations_since_restore", "done", "checkpoint_dir_name"),
}


class _Searcher(Searcher):
    def __init__(self, session: Session, concurrency: Callable[[], int]) -> None:
        super().__init__(metric=None, mode=None)
        self._session, self._concurrency = session, concurrency

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        if self._session.jobs and len(self._session.jobs) >= self._concurrency():
            return None  # Tune asks again
        job = self._session.take(trial_id)
        if job is None:
            return Searcher.FINISHED if self._session.over() else None
        return {
            "name": job.name,
            "folder": str(job.folder),
            "kind": job.kind,
            "experiment": resolved(job.experiment).model_dump(mode="json"),
        }

    def on_trial_complete(
        self, trial_id: str, result: Row | None = None, error: bool = False
    ) -> None:
        """Ends are taken by the callback, which knows the error as well."""

    def save(self, checkpoint_path: str) -> None:
        """The study keeps the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The study keeps the state."""


class _Scheduler(FIFOScheduler):
    def __init__(self, session: Session) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._session = session
        self.pruned: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Row) -> str:
        if result.get("done"):  # Tune repeats the last report when the function has returned
            return str(TrialScheduler.CONTINUE)
        self._session.forgive(trial)
        if self._session.result(trial.trial_id, result):
            self.pruned.add(trial.trial_id)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)


class _Callback(Callback):
    def __init__(self, session: Session, scheduler: _Scheduler) -> None:
        self._session, self._scheduler = session, scheduler

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._session.started(trial)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._session.failed(trial)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._session.ended(trial.trial_id, pruned=trial.trial_id in self._scheduler.pruned)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        path = trial.error_file
        text = Path(path).read_text(errors="replace") if path and Path(path).exists() else ""
        self._session.ended(trial.trial_id, error=text or "the trial's process was lost")


class _Stopper(Stopper):
    def __init__(self, session: Session) -> None:
        self._session, self._node = session, OwnNode()

    def __call__(self, trial_id: str, result: Row) -> bool:
        return False

    def stop_all(self) -> bool:
        stop = self._session.stop
        if not stop and self._node.gone():
            stop.error = NodeLost("the Ray node that this driver runs on is lost")
            stop.request("node")
        return bool(stop)


def run_jobs(
    source: Source,
    *,
    name: str,
    folder: Path,
    trainable: Trainable,
    listeners: Iterable[Listener],
    stop: Stop,
    concurrency: Callable[[], int],
    bundles: list[dict[str, float]],
    max_failures: int,
) -> None:
    """Run all jobs of a source; returns when it is empty or a stop was asked for.

    Jobs that were cut off by a stop are told as "interrupted" to the listeners.

    Args:
        source: gives jobs and judges them.
        name: of the Tune experiment.
        folder: holds Tune's own files.
        trainable: runs one job (:func:`sweeps.running.trial.run`).
        listeners: are told what happens.
        stop: ends it early.
        concurrency: says how many jobs may run at once now; one always may.
        bundles: resources of a job, one for each of its processes.
        max_failures: losses that a job survives, not counting those of whole nodes.

    Raises:
        UserError: jobs are left, and no stop was asked for.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    session = Session(source, listeners, stop)
    try:
        for _ in range(PASSES):
            if session.over():
                return
            scheduler = _Scheduler(session)
            tuner = tune.Tuner(
                tune.with_resources(trainable, PlacementGroupFactory(bundles)),
                tune_config=tune.TuneConfig(
                    search_alg=_Searcher(session, concurrency),
                    scheduler=scheduler,
                    num_samples=-1,  # as many as the searcher gives
                    # The next trial in the same process starts at once, everything imported.
                    reuse_actors=True,
                    trial_name_creator=lambda trial: str(trial.config["name"]),
                    trial_dirname_creator=lambda trial: str(trial.config["name"]),
                ),
                run_config=tune.RunConfig(
                    name=name,
                    storage_path=str(folder),
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    callbacks=[_Callback(session, scheduler)],
                    stop=_Stopper(session),
                    verbose=0,
                ),
            )
            try:
                tuner.fit()
            except Exception as error:
                if not is_full(error):
                    raise
                full = f"{folder.parent}: no room is left for the sweep ({error})"
                stop.error = StorageFull(full)
                stop.request("storage")
            session.recall()
        left = session.left()
    finally:
        session.close()
    if left and not stop:
        raise UserError(
            f"{name}: Ray Tune left out {left} trainings {PASSES} times; go on with them: "
            f"c2vl-sweep resume {name}"
        )
