"""The sweep in MLflow: a parent run, a child run a trial; written by the driver alone.

What is to be written is data, spooled to the sweep's folder (:mod:`.delivery`) and delivered by
a thread (:mod:`.run_writer`): training never waits for MLflow, an absent server is waited for over
any number of restarts, and each epoch is logged once.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from c2vl.training.figures import markdown
from sweeps.spec import provenance
from sweeps.spec.reading import public_dump
from sweeps.spec.store_addresses import shown
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training_job import End, Job, Outcome, Row
from sweeps.tracking.delivery import Delivery, Operation, Spool, waiting
from sweeps.tracking.mlflow_store import does_not_answer
from sweeps.tracking.run_writer import NODE, OUTCOME, STATUS, TRIAL, Runs, batches

log = logging.getLogger(__name__)


class Tracker:
    """Writes one sweep to MLflow.

    Args:
        spec: the sweep.
        identity: tells it from a former one of the same name.
        must_answer: whether MLflow has to be there now. A sweep that is known already goes on
            without it: what is to be written waits on disk.

    Raises:
        UserError: MLflow does not answer.
    """

    def __init__(self, spec: SweepSettings, identity: str, *, must_answer: bool = True) -> None:
        self.spec = spec
        self._runs = Runs(
            spec.tracking_uri, spec.tracking.experiment, spec.storage, spec.name, identity
        )
        try:
            self.parent  # noqa: B018  asks MLflow for it
        except Exception as error:
            if must_answer:
                raise does_not_answer(spec.tracking_uri, error) from None
            log.warning(
                "%s; what is to be written waits on disk",
                does_not_answer(spec.tracking_uri, error),
            )
        self._patience = spec.tracking.patience
        self._began: dict[str, float] = {}
        self._code: dict[str, str] = {}
        self._data: dict[str, list[dict[str, str]]] = {}
        self._spool = Spool(spec.folder)
        self._delivery = Delivery(self._spool, self._runs.apply, batches)
        self._put("open", spec.name, kind="sweep")

    @property
    def client(self) -> MlflowClient:
        """For reading, and for what is written after the trials."""
        return self._runs.client

    @property
    def experiment(self) -> str:
        """Id of the MLflow experiment."""
        return self._runs.experiment

    @property
    def parent(self) -> str:
        """Id of the parent run."""
        return self._runs.parent

    def _put(self, op: str, run: str, **payload: Any) -> None:
        operation: Operation = {"op": op, "run": run, "time": int(time.time() * 1000), **payload}
        self._delivery.put(operation)

    # --- the parent run ------------------------------------------------------------------------

    def begin(self, data: dict[str, Any]) -> None:
        """Write what the sweep is and what it runs on.

        Args:
            data: manifests, by what they are of (:func:`sweeps.spec.provenance.data_manifest`).
        """
        spec = self.spec
        self._code = provenance.code()
        note = f"{spec.description}\n\n{markdown()}".lstrip()  # MLflow has no notes on metrics
        self._put(
            "open",
            spec.name,
            kind="sweep",
            data=self._datasets(spec.base),
            tags={**self._code, "mlflow.note.content": note},
            texts={
                "sweep.yaml": public_dump(spec),
                "data.json": provenance.as_json(data),
                "environment.json": provenance.as_json(provenance.environment()),
            },
            files=[str(provenance.LOCK.absolute())],
        )

    def finish(self, outcome: Outcome, patience: float | None = None) -> None:
        """End the parent run and wait until everything is written, or patience is at an end.

        Args:
            outcome: of the sweep.
            patience: seconds; default: ``tracking.patience``.
        """
        self._put("close", self.spec.name, status=STATUS[outcome], tags={OUTCOME: outcome})
        if not self._delivery.close(self._patience if patience is None else patience):
            log.warning(
                "MLflow stayed away: %d writes wait in %s; `c2vl-sweep resume %s` delivers them",
                waiting(self.spec.folder),
                self.spec.folder,
                self.spec.name,
            )

    def discard(self) -> None:
        """Take back the parent run of a sweep that has not started after all."""
        try:
            self._delivery.close(self._patience)
            self._runs.client.delete_run(self.parent)
        except Exception as error:  # the start has failed for a reason of its own, which is told
            why = does_not_answer(self.spec.tracking_uri, error)
            log.warning("the run of %s stays in MLflow: %s", self.spec.name, why)

    def flush(self) -> bool:
        """Wait until everything so far is written; False where patience came to its end before."""
        delivered = self._delivery.flush(self._patience)
        if not delivered:
            self._patience = 0.0  # it is at an end: the next wait would only double it
        return delivered

    def reconcile(self, ended: Iterable[tuple[Job, Outcome]]) -> None:
        """Bring runs that a kill cut off to what the study says of their trials.

        Args:
            ended: each job that has ended, and how.
        """
        if jobs := [self._settled(job, outcome) for job, outcome in ended]:
            self._put("settle", "", jobs=jobs)

    def whole(self, figures: Mapping[str, float], folders: Mapping[str, Path]) -> None:
        """Write figures of the whole sweep and folders of files into the parent run."""
        places = {place: str(folder) for place, folder in folders.items()}
        self._put("add", self.spec.name, kind="sweep", metrics=dict(figures), folders=places)

    # --- child runs, as a listener of the engine -----------------------------------------------

    def started(self, job: Job, attempt: int) -> None:
        """Open the job's run, or the one that it has; what is missing there is filled in."""
        self._began[job.name] = time.monotonic()
        self._put(
            "open",
            job.name,
            id=uuid.uuid4().hex,
            kind=job.kind,
            tags=self._tags(job),
            config=job.experiment.model_dump(mode="json"),
            data=self._datasets(job.experiment),
        )
        if rows := job.rows():
            self._put("fill", job.name, folder=str(job.folder), until=rows[-1]["epoch"])

    def reported(self, job: Job, row: Row) -> None:
        """Log the figures of an epoch."""
        self._put("rows", job.name, rows=[row])

    def ended(self, job: Job, end: End) -> None:
        """Log what is still missing, and close the run."""
        seconds = time.monotonic() - self._began.pop(job.name, time.monotonic())
        said = {"error.txt": end.error, "warnings.txt": end.warnings}
        self._put("fill", job.name, folder=str(job.folder), until=job.experiment.train.epochs)
        self._put(
            "close",
            job.name,
            status=STATUS[end.outcome],
            seconds=seconds,
            tags={OUTCOME: end.outcome, NODE: end.node},
            texts={name: text for name, text in said.items() if text},
            folders=self._folders(job, end.outcome),
        )

    def keep(self, jobs: Iterable[Job]) -> None:
        """Add the encoders of chosen trials to their runs, where not all have theirs there."""
        for job in jobs:
            self._put("add", job.name, folders={"encoder": str(job.encoder)})

    def _tags(self, job: Job) -> dict[str, str]:
        drawn = {f"drawn.{key}": str(value) for key, value in job.values.items()}
        return {TRIAL: str(job.number), **self._code, **drawn}

    def _datasets(self, experiment: Experiment) -> list[dict[str, str]]:
        """The data of a training; most of a sweep have the same, whose digests are read once."""
        key = repr((experiment.data.store, experiment.data.split, experiment.concept_tables()))
        if key not in self._data:
            try:
                self._data[key] = provenance.datasets(experiment)
            except UserError:  # the training will say so
                self._data[key] = []
        return self._data[key]

    def _folders(self, job: Job, outcome: Outcome) -> dict[str, str]:
        wanted = job.kind == "final" or self.spec.keep.encoders == "all"
        return {"encoder": str(job.encoder)} if outcome == "complete" and wanted else {}

    def _settled(self, job: Job, outcome: Outcome) -> dict[str, Any]:
        return {
            "run": job.name,
            "kind": job.kind,
            "outcome": outcome,
            "folder": str(job.folder),
            "tags": self._tags(job),
            "folders": self._folders(job, outcome),
        }


def deliver(spec: SweepSettings, identity: str) -> int:
    """Write to MLflow what an earlier driver left on disk; the caller holds the sweep's lock.

    Returns:
        How many operations were delivered.

    Raises:
        UserError: MLflow stayed away.
    """
    if not (found := waiting(spec.folder)):
        return 0
    runs = Runs(spec.tracking_uri, spec.tracking.experiment, spec.storage, spec.name, identity)
    delivery = Delivery(Spool(spec.folder), runs.apply, batches)
    if not delivery.close(spec.tracking.patience):
        raise UserError(
            f"tracking.uri: MLflow at {shown(spec.tracking_uri)} does not answer; "
            f"{waiting(spec.folder)} writes wait in {spec.folder}"
        )
    return found
