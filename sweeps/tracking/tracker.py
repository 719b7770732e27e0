"""The sweep in MLflow: a parent run and a child run for each trial; only the driver writes them.

Unsent updates are kept on disk (:mod:`.backlog`), and a thread (:mod:`.delivery`) sends them
(:mod:`.run_sync`). So training never waits for MLflow, an outage may last over any number of
restarts, and each epoch is logged once.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from sweeps.spec import provenance
from sweeps.spec.reading import public_dump
from sweeps.spec.store_addresses import scrubbed
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import End, Listener, Outcome, Row, Training
from sweeps.tracking.access import check_access
from sweeps.tracking.backlog import OUTCOME, RUNNING, Backlog, now, waiting
from sweeps.tracking.delivery import Delivery
from sweeps.tracking.mlflow_store import Refused, answering, does_not_answer
from sweeps.tracking.pages import (
    CHOICE,
    NOTE,
    TRAINING_PAGES,
    WINNER,
    description,
    saved_view,
    view_address,
)
from sweeps.tracking.run_sync import NODE, STATUS, TRIAL, SweepRuns

log = logging.getLogger(__name__)


class Tracker(Listener):
    """Writes one sweep to MLflow.

    Args:
        identity: distinguishes it from an earlier sweep of the same name.
        must_answer: whether MLflow must answer now. A resumed sweep can continue without it: its
            updates wait on disk.

    Attributes:
        runs: the sweep's runs, for reads and for writes after the trials.

    Raises:
        Refused: MLflow does not let us write what a sweep writes.
        UserError: MLflow does not answer.
    """

    def __init__(self, spec: SweepSettings, identity: str, *, must_answer: bool = True) -> None:
        self.spec = spec
        self._identity, self.runs = identity, SweepRuns(spec, identity)
        self._open(must_answer)
        self._patience = spec.tracking.patience
        self._began: dict[str, float] = {}
        self._code: dict[str, str] = {}
        self._data: dict[str, list[dict[str, str]]] = {}
        self._backlog = Backlog(spec.folder)
        self._delivery = Delivery(self._backlog, self.runs.bring, spec.tracking_uri)
        self._tell = self._backlog.add
        self._tell(spec.name, kind="sweep", status=RUNNING, tags={OUTCOME: "running"})

    def _open(self, must_answer: bool) -> None:
        """Find or make the parent run, and check that MLflow takes what is to come."""
        parent = None
        try:
            with answering(self.spec.tracking_uri):
                parent = self.runs.parent
                check_access(self.spec, self.runs.client, parent)
        except UserError as error:
            if must_answer and parent:
                with suppress(Exception):  # the first error is reported
                    self.runs.client.delete_run(parent)
            if must_answer or isinstance(error, Refused):
                raise
            log.warning("%s; what is to be written waits on disk", error)

    # --- the parent run ------------------------------------------------------------------------

    def begin(self, data: dict[str, Any]) -> None:
        """Write what the sweep is and what it runs on.

        Args:
            data: manifests, by what they are of (:func:`sweeps.spec.provenance.data_manifest`).
        """
        spec = self.spec
        self._code = provenance.code()
        self._tell(
            spec.name,
            data=self._datasets(spec.base),
            tags={**self._code, NOTE: description(spec)},
            experiment_tags={**TRAINING_PAGES, **saved_view(spec, self._identity, now())},
            texts={
                "sweep.yaml": public_dump(spec),
                "data.json": provenance.as_json(data),
                "environment.json": provenance.as_json(provenance.environment()),
            },
            files=[str(file)] if (file := provenance.lock_file()) else [],
        )

    def finish(self, outcome: Outcome, patience: float | None = None) -> str:
        """End the parent run and wait until everything is written, or until patience runs out.

        Args:
            outcome: of the sweep.
            patience: seconds without progress; default: ``tracking.patience``.

        Returns:
            What is not written, and why; empty where all is.
        """
        self._tell(self.spec.name, status=STATUS[outcome], tags={OUTCOME: outcome})
        if self._delivery.close(self._patience if patience is None else patience):
            return ""
        left = (
            f"{waiting(self.spec.folder)} runs wait in {self.spec.folder} to be written to MLflow "
            f"({self._delivery.error or 'it is slow'})"
        )
        log.warning("%s; `c2vl-sweep resume %s` writes them", left, self.spec.name)
        return left

    def discard(self) -> None:
        """Delete the parent run of a sweep that failed to start."""
        try:
            self._delivery.close(self._patience)
            self.runs.client.delete_run(self.runs.parent)
        except Exception as error:  # the error that made the start fail is reported
            why = does_not_answer(self.spec.tracking_uri, error)
            log.warning("the run of %s stays in MLflow: %s", self.spec.name, why)

    def flush(self) -> None:
        """Wait until everything so far is written.

        Raises:
            UserError: patience ran out, or MLflow refuses a write.
        """
        if not self._delivery.flush(self._patience):
            self._patience = 0.0  # used up: another wait would only double it
            raise self._delivery.error or UserError("MLflow has not taken every run yet")

    def reconcile(self, ended: Iterable[tuple[Training, Outcome]], *, always: bool = False) -> None:
        """Update runs that a kill interrupted from their trials in the study.

        Args:
            ended: each training that has ended, and how.
            always: also update runs whose status and outcome are right.
        """
        for training, outcome in ended:
            self._tell(
                training.name,
                if_unsettled=not (always or self._backlog.knows(training.name)),
                status=STATUS[outcome],
                tags={**self._tags(training), OUTCOME: outcome},
                **self._home(training),
                folders=self._folders(training, outcome),
            )

    def view(self) -> str:
        """Return the address of the sweep's trials side by side.

        Raises:
            UserError: MLflow does not answer.
        """
        with answering(self.spec.tracking_uri):
            return view_address(self.spec.tracking_uri, self.runs.experiment, self._identity)

    def chosen(
        self,
        words: str,
        marks: Mapping[str, str],
        settings: Mapping[str, Any],
        drawn: Mapping[str, Any],
    ) -> None:
        """Write what was chosen.

        MLflow cannot change parameters, so they stay those of a sweep's first choice; the sweep's
        tags say what is chosen now.

        Args:
            words: for the sweep's description, in Markdown.
            marks: tag :data:`.CHOICE` by run.
            settings: of the winner, with :data:`.WINNER`: they become the sweep's parameters.
            drawn: the winner's values, by variable.
        """
        tags = {NOTE: description(self.spec, words), WINNER: settings[WINNER]}
        tags |= {f"drawn.{key}": str(drawn.get(key, "")) for key in self.spec.space}
        self._tell(self.spec.name, kind="sweep", tags=tags, config=dict(settings))
        for run, mark in marks.items():
            self._tell(run, tags={CHOICE: mark})

    def whole(self, figures: Mapping[str, float], folders: Mapping[str, Path]) -> None:
        """Write the whole sweep's figures and folders of files to the parent run."""
        when = now()
        self._tell(
            self.spec.name,
            kind="sweep",
            metrics={name: (float(value), when) for name, value in figures.items()},
            folders={place: self._place(folder) for place, folder in folders.items()},
        )

    # --- child runs, as a listener of the engine -----------------------------------------------

    def started(self, training: Training, attempt: int) -> None:
        """Open the training's run, or reopen it; fill in what is missing."""
        self._began[training.name] = time.monotonic()
        self._tell(
            training.name,
            status=RUNNING,
            attempts=[uuid.uuid4().hex],
            tags={OUTCOME: "running", **self._tags(training)},
            config=training.experiment.model_dump(mode="json"),
            data=self._datasets(training.experiment),
            **self._home(training),
        )

    def reported(self, training: Training, row: Row) -> None:
        """Log the figures of an epoch, if MLflow gets them (:mod:`.logged_epochs`)."""
        if row["epoch"] in self.runs.logged:
            self._backlog.add_epoch(training.name, row["epoch"])

    def ended(self, training: Training, end: End) -> None:
        """Log what is still missing, and close the run."""
        texts = {"error.txt": scrubbed(end.error), "warnings.txt": scrubbed(end.warnings)}
        began = self._began.pop(training.name, None)
        self._tell(
            training.name,
            status=STATUS[end.outcome],
            seconds={} if began is None else {now(): time.monotonic() - began},
            tags={OUTCOME: end.outcome, NODE: end.node},
            texts={name: text for name, text in texts.items() if text},
            folders=self._folders(training, end.outcome),
            **self._home(training),
        )

    def keep(self, trainings: Iterable[Training]) -> None:
        """Add the encoders of chosen trials to their runs, where not every run has its own."""
        for training in trainings:
            self._tell(
                training.name, folders={"encoder": self._encoder(training)}, **self._home(training)
            )

    def _home(self, training: Training) -> dict[str, str]:
        return {"kind": training.kind, "folder": self._place(training.folder)}

    def _tags(self, training: Training) -> dict[str, str]:
        drawn = {f"drawn.{key}": str(value) for key, value in training.values.items()}
        return {TRIAL: str(training.number), **self._code, **drawn}

    def _datasets(self, experiment: Experiment) -> list[dict[str, str]]:
        """Return the data of a training; cache digests, since most trainings share their data."""
        key = repr((experiment.data.store, experiment.data.split, experiment.concept_tables()))
        if key not in self._data:
            try:
                self._data[key] = provenance.datasets(experiment)
            except UserError:  # the training will say so
                self._data[key] = []
        return self._data[key]

    def _folders(self, training: Training, outcome: Outcome) -> dict[str, str]:
        wanted = training.kind != "trial" or self.spec.keep.encoders == "all"
        return {"encoder": self._encoder(training)} if outcome == "complete" and wanted else {}

    def _encoder(self, training: Training) -> str:
        return self._place(training.run.encoder)

    def _place(self, folder: Path) -> str:
        """Return a folder for a note: of a sweep at a URL, whose copy is another one elsewhere."""
        own = self.spec.folder
        return str(folder if own.url is None else folder.relative_to(own.path))


def deliver(spec: SweepSettings, identity: str) -> int:
    """Send MLflow the updates that an earlier driver left; the caller holds the sweep's lock.

    Returns:
        How many runs had unsent updates.

    Raises:
        UserError: MLflow did not answer.
    """
    if not (found := waiting(spec.folder)):
        return 0
    delivery = Delivery(Backlog(spec.folder), SweepRuns(spec, identity).bring, spec.tracking_uri)
    if not delivery.close(spec.tracking.patience):
        raise UserError(f"{delivery.error}; {waiting(spec.folder)} runs wait in {spec.folder}")
    return found
