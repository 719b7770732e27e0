"""The sweep in MLflow: a parent run, a child run a trial; written by the driver alone.

Runs are found by their tags, never by memory, so that a restart goes on in the same runs. Writes
go through one background thread that keeps their order and outlasts an absent server: training
never waits for MLflow, and each epoch is logged once.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # retrying is done here
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from c2vl.config_files import flatten
from c2vl.errors import UserError
from sweeps import provenance
from sweeps.jobs import End, Job, Outcome, Row
from sweeps.spec import SweepSettings, dump_sweep

log = logging.getLogger(__name__)

STATUS: dict[Outcome, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
SWEEP, IDENTITY, KIND, RUN, TRIAL = "sweep", "sweep_id", "kind", "run", "trial"
OUTCOME, ATTEMPTS, NODE = "outcome", "attempts", "node"
PERMANENT = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}
BATCH = 900  # MLflow takes 1000 metrics in a batch


def open_client(uri: str) -> MlflowClient:
    """Return a client of a tracking store, without its noise."""
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


class Tracker:
    """Writes one sweep to MLflow.

    Attributes:
        client: for reading, and for what is written after the trials.
        parent: id of the parent run.
    """

    def __init__(self, spec: SweepSettings, identity: str) -> None:
        self.spec, self.identity = spec, identity
        try:
            self.client = open_client(spec.tracking_uri)
            self.experiment = self._experiment()
            self._ids: dict[str, str] = {}
            self.parent = self._run(f"{spec.name}", "sweep", {})
            self._terminate(self.parent, "RUNNING")
        except Exception as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise UserError(
                f"tracking.uri: MLflow at {spec.tracking_uri} does not answer: {reason}"
            ) from None
        self._epochs: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._writes = Writes()

    def _experiment(self) -> str:
        name = self.spec.tracking.experiment
        if (found := self.client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        place = None
        if self.spec.tracking.uri is None:
            place = (self.spec.storage.absolute() / "mlartifacts").as_uri()
        return str(self.client.create_experiment(name, artifact_location=place))

    # --- the parent run ------------------------------------------------------------------------

    def begin(self, data: dict[str, Any]) -> None:
        """Write what the sweep is and what it runs on."""
        spec, parent, client = self.spec, self.parent, self.client
        tags = {
            "git_commit": provenance.git_commit(),
            "lock_sha256": provenance.lock_digest(),
            "mlflow.note.content": spec.description,
        }

        def write() -> None:
            for key, value in tags.items():
                client.set_tag(parent, key, value)
            client.log_text(parent, dump_sweep(spec), "sweep.yaml")
            client.log_dict(parent, data, "data.json")
            client.log_dict(parent, provenance.environment(), "environment.json")
            if provenance.LOCK.is_file():
                client.log_artifact(parent, str(provenance.LOCK))

        self._writes.put(write)

    def finish(self, outcome: Outcome) -> None:
        """End the parent run and wait until everything is written, or patience is at an end."""
        parent = self.parent

        def write() -> None:
            self.client.set_tag(parent, OUTCOME, outcome)
            self._terminate(parent, STATUS[outcome])

        self._writes.put(write)
        if lost := self._writes.close(self.spec.tracking.patience):
            log.warning(
                "MLflow stayed away: %d writes are missing; `c2vl-sweep resume %s` adds them",
                lost,
                self.spec.name,
            )

    def flush(self) -> None:
        """Wait until everything so far is written, or patience is at an end."""
        self._writes.flush(self.spec.tracking.patience)

    def reconcile(self, ended: Iterable[tuple[Job, Outcome]]) -> None:
        """Bring runs that a kill cut off to what the study says of their trials.

        Args:
            ended: each job that has ended, and how.
        """
        jobs = list(ended)
        if jobs:
            self._writes.put(partial(self._reconcile, jobs))

    def _reconcile(self, ended: list[tuple[Job, Outcome]]) -> None:
        runs = {run.data.tags.get(RUN): run for run in self.runs()}
        for job, outcome in ended:
            run = runs.get(job.name)
            if run is None:  # killed before MLflow heard of it
                self._start(job)
            elif run.info.status == STATUS[outcome]:
                continue
            else:
                self._ids[job.name] = run.info.run_id
            self._rows(job.name, job.rows())
            self._end(job, End(outcome))

    def whole(self, figures: Mapping[str, float], folders: Mapping[str, Path]) -> None:
        """Write figures of the whole sweep and folders of files into the parent run."""
        metrics = [Metric(key, value, int(time.time() * 1000), 0) for key, value in figures.items()]

        def write() -> None:
            self.client.log_batch(self.parent, metrics=metrics)
            for place, folder in folders.items():
                self.client.log_artifacts(self.parent, str(folder), place)

        self._writes.put(write)

    # --- child runs, as a listener of the engine -----------------------------------------------

    def started(self, job: Job, attempt: int) -> None:
        """Open the job's run, or the one that it has; what is missing there is filled in."""
        self._began[job.name] = time.monotonic()
        self._writes.put(lambda: self._start(job))
        self._writes.put(lambda: self._rows(job.name, job.rows()))

    def reported(self, job: Job, row: Row) -> None:
        """Log the figures of an epoch."""
        self._writes.put(lambda: self._rows(job.name, [row]))

    def ended(self, job: Job, end: End) -> None:
        """Log what is still missing, and close the run."""
        seconds = time.monotonic() - self._began.pop(job.name, time.monotonic())
        self._writes.put(lambda: self._rows(job.name, job.rows()))
        self._writes.put(lambda: self._end(job, end, seconds))

    def _start(self, job: Job) -> None:
        run_id = self._run(job.name, job.kind, {TRIAL: str(job.number)})
        run = self.client.get_run(run_id)
        attempts = int(run.data.tags.get(ATTEMPTS, 0)) + 1
        self._terminate(run_id, "RUNNING")
        config = job.experiment.model_dump(mode="json")
        params = []
        if not run.data.params:
            params = [Param(key, str(value)) for key, value in flatten(config).items()]
            self.client.log_dict(run_id, config, "config.json")
        tags = [RunTag(ATTEMPTS, str(attempts)), RunTag(OUTCOME, "running")]
        tags += [RunTag(f"drawn.{key}", str(value)) for key, value in job.values.items()]
        for first in range(0, len(params), 90):
            self.client.log_batch(run_id, params=params[first : first + 90])
        self.client.log_batch(run_id, tags=tags)

    def _rows(self, name: str, rows: list[Row]) -> None:
        run_id = self._id(name)
        try:
            if name not in self._epochs:
                self._epochs[name] = int(self.client.get_run(run_id).data.metrics.get("epoch", 0))
            fresh = [row for row in rows if row["epoch"] > self._epochs[name]]
            now = int(time.time() * 1000)
            metrics = [
                Metric(key, float(value), now, int(row["epoch"]))
                for row in fresh
                for key, value in row.items()
                if isinstance(value, int | float) and math.isfinite(value)
            ]
            for first in range(0, len(metrics), BATCH):
                self.client.log_batch(run_id, metrics=metrics[first : first + BATCH])
        except Exception:
            self._epochs.pop(name, None)  # it may have arrived all the same: read again
            raise
        if fresh:
            self._epochs[name] = max(int(row["epoch"]) for row in fresh)

    def _end(self, job: Job, end: End, seconds: float = 0.0) -> None:
        name, run_id = job.name, self._id(job.name)
        before = float(self.client.get_run(run_id).data.metrics.get("wall_seconds", 0.0))
        now, step = int(time.time() * 1000), self._epochs.get(name, 0)
        self.client.log_batch(
            run_id,
            metrics=[Metric("wall_seconds", before + seconds, now, step)] if seconds else [],
            tags=[RunTag(OUTCOME, end.outcome), RunTag(NODE, end.node)],
        )
        if end.error:
            self.client.log_text(run_id, end.error, "error.txt")
        if end.outcome == "complete":
            self.client.log_artifacts(run_id, str(job.folder / "encoder"), "encoder")
        self._terminate(run_id, STATUS[end.outcome])

    # --- runs by tag ---------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Return all runs of the sweep, the parent too."""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                f"tags.{IDENTITY} = '{self.identity}'",
                max_results=1000,
                page_token=token,
            )
            found += page
            if not (token := page.token):
                return found

    def _id(self, name: str) -> str:
        if name not in self._ids:
            kind = "final" if f"{self.spec.name}-final" in name else "trial"
            self._run(name, kind, {})
        return self._ids[name]

    def _run(self, name: str, kind: str, tags: dict[str, str]) -> str:
        if name in self._ids:
            return self._ids[name]
        query = f"tags.{IDENTITY} = '{self.identity}' and tags.{RUN} = '{name}'"
        found = self.client.search_runs([self.experiment], query, max_results=1)
        if found:
            run_id = found[0].info.run_id
        else:
            own = {SWEEP: self.spec.name, IDENTITY: self.identity, KIND: kind, RUN: name}
            tags = {**own, **tags}
            if kind != "sweep":
                tags["mlflow.parentRunId"] = self.parent
            run_id = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        self._ids[name] = run_id
        return str(run_id)

    def _terminate(self, run_id: str, status: str) -> None:
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status)


class Writes:
    """Writes in a thread, in order, each tried until it works or patience is at an end."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._deadline = math.inf
        self._lost = 0
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def put(self, write: Callable[[], None]) -> None:
        """Add a write."""
        self._queue.put(write)

    def flush(self, patience: float) -> None:
        """Wait until all writes so far are done, or for ``patience`` seconds."""
        done = threading.Event()
        self._queue.put(done.set)
        done.wait(patience)

    def close(self, patience: float) -> int:
        """Finish; returns how many writes were given up after ``patience`` seconds."""
        self._deadline = time.monotonic() + patience
        self._hurry.set()
        self._queue.put(None)
        self._thread.join(patience + 60)
        return self._lost + self._queue.qsize()

    def _work(self) -> None:
        while (write := self._queue.get()) is not None:
            self._write(write)

    def _write(self, write: Callable[[], None]) -> None:
        pause = 0.5
        while True:
            try:
                write()
                return
            except Exception as error:
                if isinstance(error, MlflowException) and error.error_code in PERMANENT:
                    log.warning("MLflow refused a write: %s", str(error).splitlines()[0])
                    return
                if time.monotonic() > self._deadline:
                    self._lost += 1
                    return
                log.debug("MLflow: %s", error)
            self._hurry.wait(pause) if not self._hurry.is_set() else time.sleep(min(pause, 2.0))
            pause = min(pause * 2, 15.0)
