"""One training of ``c2vl train`` in MLflow, as it goes on."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from c2vl.config.experiment import Experiment
from c2vl.support.errors import StorageAway, StorageFull, UserError
from c2vl.support.remote import Location, absolute
from c2vl.training.run_folder import RunFolder
from sweeps.spec import provenance
from sweeps.spec.store_addresses import scrubbed, shown
from sweeps.spec.training import Outcome, Row
from sweeps.tracking.backlog import OUTCOME, RUNNING, Note, now
from sweeps.tracking.logged_epochs import LoggedEpochs
from sweeps.tracking.mlflow_store import Refused, answering, does_not_answer
from sweeps.tracking.pages import NOTE, TRAINING_PAGES, figures_explained
from sweeps.tracking.run_sync import IDENTITY, STATUS, Place, Runs, epoch_metric

EXPERIMENT = "c2vl-trainings"
TRAINING = "training"
"""Tag: a digest of the run folder's place and of the settings."""
OPTION = "--tracking-uri"
PATIENCE = 60.0
"""Seconds in which a server that is away must answer, once training is done."""

log = logging.getLogger(__name__)


@contextmanager
def log_training(
    uri: str, experiment: Experiment, folder: Location
) -> Iterator[Callable[[Row], None]]:
    """Log a training while the block runs (the plugin of ``c2vl train --tracking-uri``).

    The same training, resumed or repeated, goes on in the same run. Training does
    not wait for MLflow.

    Args:
        folder: of the run, or its URL.

    Yields:
        What is to be called after each epoch.

    Raises:
        UserError: MLflow does not answer, at the start or once training is done.
    """
    run = _Run(uri, experiment, folder)
    began = time.monotonic()
    try:
        yield run.reported
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | StorageAway | StorageFull)
        run.end("interrupted" if stopped else "failed", began, "" if stopped else str(error))
        raise
    if (why := run.end("complete", began)) is not None:
        raise UserError(f"{why}; training is done, and the same command logs it")


class _Run:
    def __init__(self, uri: str, experiment: Experiment, folder: Location) -> None:
        self._uri, self._name = uri, experiment.name
        self._home = RunFolder.at(folder)
        self._home.pull()
        self._ended = self._home.done
        there = {int(row["epoch"]) for row in self._home.rows()}
        place = f"{absolute(folder)}\n{experiment.model_dump_json()}"
        digest = hashlib.sha256(place.encode()).hexdigest()[:32]
        logged = LoggedEpochs(experiment.train.epochs, experiment.train.evaluate_every)

        def runs(identity: str) -> Runs:
            where = Place(uri, EXPERIMENT, Path("runs"))
            return Runs(where, self._name, identity, logged, "c2vl train")

        with answering(uri, OPTION):
            self._runs = runs(uuid.uuid4().hex)
            if known := _found(self._runs, digest, there):
                self._runs = runs(known)
            self._bring(
                status=RUNNING,
                attempts=[] if self._ended else [uuid.uuid4().hex],
                config=experiment.model_dump(mode="json"),
                data=provenance.datasets(experiment),
                experiment_tags=TRAINING_PAGES,
                tags={
                    TRAINING: digest,
                    OUTCOME: "running",
                    NOTE: figures_explained(experiment),
                    **provenance.code(),
                },
            )
            click.echo(f"MLflow: runs:/{self._runs.id_of(self._name)} at {shown(uri)}", err=True)
        self._again, self._over = threading.Event(), False
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def reported(self, row: Row) -> None:
        if row["epoch"] in self._runs.logged:
            self._again.set()

    def end(self, outcome: Outcome, began: float, error: str = "") -> UserError | None:
        """Log the end; return why MLflow did not take it."""
        self._over = True
        self._again.set()
        self._thread.join()
        if outcome != "complete" and not self._home.settings.exists():
            return self._try(self._forget)  # it was refused before it began
        when, seconds = now(), time.monotonic() - began
        facts: dict[str, Any] = {
            "status": STATUS[outcome],
            "time": when,
            "seconds": {} if self._ended else {when: seconds},
            "tags": {OUTCOME: outcome},
            "texts": {"error.txt": scrubbed(error)} if error else {},
        }
        if outcome == "complete":
            if self._home.mirror is not None:
                self._home.mirror.pull(below=self._home.encoder.name)
            facts["folders"] = {"encoder": str(self._home.encoder)}
        until = time.monotonic() + (PATIENCE if outcome == "complete" else 0.0)
        while why := self._try(lambda: self._bring(**facts)):
            if time.monotonic() > until or isinstance(why, Refused):
                log.warning("%s; MLflow lacks the end of this run", why)
                break
            time.sleep(2.0)
        return why

    def _forget(self) -> None:
        if (known := self._runs.id_of(self._name)) is not None:
            self._runs.client.delete_run(known)

    def _work(self) -> None:
        said = False
        while not self._over:
            self._again.wait()
            self._again.clear()
            time.sleep(0.3)  # reports that follow at once go along
            why = None if self._over else self._try(lambda: self._bring(new=False))
            if why is not None and not said:
                log.warning("%s; training goes on, and the end logs what is missing", why)
                said = True

    def _bring(self, *, new: bool = True, **facts: Any) -> None:
        note = Note(run=self._name, kind="training", folder=str(self._home.path), **facts)
        self._runs.bring(note, new)

    def _try(self, write: Callable[[], None]) -> UserError | None:
        try:
            write()
        except Exception as error:
            return does_not_answer(self._uri, error, OPTION)
        return None


def _found(runs: Runs, digest: str, epochs: set[int]) -> str | None:
    """Return the identity of a training's run; None if it has none.

    A run that has epochs which the folder lacks is of an earlier training in a folder of this name.
    """
    query = f"tags.{TRAINING} = '{digest}'"
    for run in runs.client.search_runs([runs.experiment], query, max_results=1):
        history = runs.client.get_metric_history(run.info.run_id, epoch_metric(run))
        if {metric.step for metric in history} <= epochs:
            return run.data.tags.get(IDENTITY)
    return None
