"""A sweep's runs in MLflow: found by their tags, never by memory; written by operations.

An operation that arrives twice changes nothing: runs are looked for before they are made, figures
carry the time at which they were reported, an epoch that is there is not logged again, and an
attempt is counted by its own mark.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from c2vl.config.reading import flatten, read_yaml
from c2vl.training.figures import SYSTEM
from c2vl.training.run_folder import RunFolder
from sweeps.spec.store_addresses import reason
from sweeps.spec.training_job import Outcome, Row
from sweeps.tracking.delivery import Operation
from sweeps.tracking.mlflow_store import open_client, open_experiment

STATUS: dict[Outcome, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
SWEEP, IDENTITY, KIND, RUN, TRIAL = "sweep", "sweep_id", "kind", "run", "trial"
OUTCOME, ATTEMPTS, ATTEMPT, NODE = "outcome", "attempts", "attempt_id", "node"
SECONDS = "wall_seconds"
PERMANENT = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}
BATCH = 900  # MLflow takes 1000 metrics in a batch

log = logging.getLogger(__name__)


@dataclass
class Known:
    """What is known of a run: its id, and the last epoch that it has (None: ask MLflow)."""

    id: str
    epoch: int | None = None


class Runs:
    """The runs of one sweep.

    Args:
        uri: of the tracking store.
        experiment: MLflow experiment, made where absent.
        storage: the sweeps' folder.
        sweep: name of the sweep, and of its parent run.
        identity: tells it from another of the same name.
    """

    def __init__(self, uri: str, experiment: str, storage: Path, sweep: str, identity: str) -> None:
        self._uri, self._name, self._storage = uri, experiment, storage
        self._sweep, self._identity = sweep, identity
        self._client: MlflowClient | None = None
        self._experiment: str | None = None
        self._known: dict[str, Known] | None = None

    @property
    def client(self) -> MlflowClient:
        """The client; an error of MLflow where the store does not answer."""
        if self._client is None:
            self._client = open_client(self._uri)
        return self._client

    @property
    def experiment(self) -> str:
        """Id of the MLflow experiment."""
        if self._experiment is None:
            self._experiment = open_experiment(self.client, self._uri, self._name, self._storage)
        return self._experiment

    @property
    def parent(self) -> str:
        """Id of the parent run."""
        return self.id(self._sweep, "sweep")

    def all(self) -> list[Run]:
        """All runs of the sweep, the parent too."""
        found: list[Run] = []
        query = f"tags.{IDENTITY} = '{self._identity}'"
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], query, max_results=1000, page_token=token
            )
            found += page
            if not (token := page.token):
                return found

    # --- operations -----------------------------------------------------------------------------

    def apply(self, operations: list[Operation]) -> None:
        """Do operations that :func:`batches` put together.

        What MLflow refuses for good is left out with a warning; any other failure is raised, and
        the whole may be tried again.
        """
        rows: dict[str, list[tuple[int, Row]]] = {}
        for operation in operations:
            if operation.get("op") == "rows":
                self._once(partial(_collect, operation, rows))
            else:
                self._once(partial(self._do, operation))
        for name, found in rows.items():
            self._once(partial(self._rows, name, found))

    def _once(self, write: Callable[[], None]) -> None:
        try:
            write()
        except MlflowException as error:
            if error.error_code not in PERMANENT:
                raise
            log.warning("MLflow refused a write: %s", reason(error))
        except (OSError, SQLAlchemyError):
            raise
        except Exception:
            log.exception("a write to MLflow is left out")

    def _do(self, operation: Operation) -> None:
        kind, name, now = operation["op"], operation.get("run", ""), operation["time"]
        if kind == "open":
            self._open(name, operation, now)
        elif kind == "fill":
            rows = RunFolder(Path(operation["folder"])).rows()
            self._rows(name, [(now, row) for row in rows if row["epoch"] <= operation["until"]])
        elif kind == "add":
            self._add(self.id(name, operation.get("kind", "trial")), operation, now)
        elif kind == "close":
            self._close(name, operation, now)
        elif kind == "settle":
            self._settle(operation["jobs"], now)

    def _open(self, name: str, operation: Operation, now: int) -> None:
        client, run_id = self.client, self.id(name, operation["kind"], now)
        run = client.get_run(run_id)
        client.update_run(run_id, status="RUNNING")
        tags = dict(operation.get("tags", {}))
        if operation["kind"] != "sweep" and run.data.tags.get(ATTEMPT) != operation["id"]:
            tags |= {
                ATTEMPTS: str(int(run.data.tags.get(ATTEMPTS, 0)) + 1),
                ATTEMPT: operation["id"],
            }
        if not run.data.params:
            self._params(run_id, operation.get("config", {}))
        if run.inputs is None or not run.inputs.dataset_inputs:
            self._datasets(run_id, operation.get("data", []))
        self._add(run_id, {**operation, "tags": {OUTCOME: "running", **tags}}, now)

    def _params(self, run_id: str, config: dict[str, Any]) -> None:
        if config:
            self.client.log_dict(run_id, config, "config.json")
        params = [Param(key, str(value)) for key, value in flatten(config).items()]
        for first in range(0, len(params), 90):
            self.client.log_batch(run_id, params=params[first : first + 90])

    def _datasets(self, run_id: str, data: list[dict[str, str]]) -> None:
        inputs = [
            DatasetInput(
                Dataset(
                    name=one["name"],
                    digest=one["digest"][:36],  # MLflow's limit
                    source_type="local",
                    source=json.dumps({"uri": one["path"]}),
                ),
                [InputTag("mlflow.data.context", one["context"])],
            )
            for one in data
        ]
        if inputs:
            self.client.log_inputs(run_id, inputs)

    def _add(self, run_id: str, operation: Operation, now: int) -> None:
        """Tags, metrics, texts, files and folders; all of it may be there already."""
        metrics = [
            Metric(key, float(value), now, int(operation.get("step", 0)))
            for key, value in operation.get("metrics", {}).items()
        ]
        tags = [RunTag(key, str(value)) for key, value in operation.get("tags", {}).items()]
        if metrics or tags:
            self.client.log_batch(run_id, metrics=metrics, tags=tags)
        for place, text in operation.get("texts", {}).items():
            self.client.log_text(run_id, text, place)
        for path in operation.get("files", []):
            if Path(path).is_file():
                self.client.log_artifact(run_id, path)
        for place, folder in operation.get("folders", {}).items():
            if Path(folder).is_dir():  # an encoder that others have beaten meanwhile is not kept
                self.client.log_artifacts(run_id, folder, place)

    def _close(self, name: str, operation: Operation, now: int) -> None:
        run_id = self.id(name, operation.get("kind", "trial"))
        if seconds := operation.get("seconds", 0.0):
            history = self.client.get_metric_history(run_id, SECONDS)
            before = max((m.value for m in history if m.timestamp != now), default=0.0)
            operation = {
                **operation,
                "metrics": {SECONDS: before + seconds},
                "step": self._epoch(name),
            }
        self._add(run_id, operation, now)
        self.client.set_terminated(run_id, operation["status"], now)

    def _settle(self, jobs: list[dict[str, Any]], now: int) -> None:
        """Bring runs to what the study says of their trials, from the trainings' own folders."""
        there = {run.data.tags.get(RUN): run for run in self.all()}
        for job in jobs:
            name, outcome, run = job["run"], job["outcome"], there.get(job["run"])
            if run is not None and settled(run, outcome):
                continue
            folder = RunFolder(Path(job["folder"]))
            if run is None:  # MLflow never heard of it
                config = read_yaml(folder.settings) if folder.settings.is_file() else {}
                self._open(name, {**job, "id": "settled", "config": config}, now)
            self._rows(name, [(now, row) for row in folder.rows()])
            done: dict[str, Any] = {"status": STATUS[outcome], "tags": {OUTCOME: outcome}}
            if (error := folder.error()) is not None:
                done["texts"] = {"error.txt": str(error)}
            self._close(name, {**job, **done}, now)

    def _rows(self, name: str, rows: Iterable[tuple[int, Row]]) -> None:
        run_id, last = self.id(name), self._epoch(name)
        batch: list[Metric] = []
        newest = last
        for now, row in rows:
            if row["epoch"] <= newest:
                continue
            figures = metrics_of(row, now)
            if len(batch) + len(figures) > BATCH:  # an epoch is never cut: it is there or not
                self._log(name, run_id, batch, newest)
                batch = []
            batch += figures
            newest = int(row["epoch"])
        if batch:
            self._log(name, run_id, batch, newest)

    def _log(self, name: str, run_id: str, batch: list[Metric], newest: int) -> None:
        known = self._load()[name]
        known.epoch = None  # it may arrive all the same: then it is asked for
        self.client.log_batch(run_id, metrics=batch)
        known.epoch = newest

    def _epoch(self, name: str) -> int:
        known = self._load()[name]
        if known.epoch is None:
            known.epoch = int(self.client.get_run(known.id).data.metrics.get("epoch", 0))
        return known.epoch

    # --- runs by tag ----------------------------------------------------------------------------

    def _load(self) -> dict[str, Known]:
        """Runs by name, asked for once: a search a trial would cost more with every trial."""
        if self._known is None:
            self._known = {
                run.data.tags[RUN]: Known(run.info.run_id, int(run.data.metrics.get("epoch", 0)))
                for run in reversed(self.all())
            }
        return self._known

    def id(self, name: str, kind: str = "trial", now: int | None = None) -> str:
        """Return a run's id; the run is made where there is none."""
        known = self._load()
        if name not in known:
            tags = {SWEEP: self._sweep, IDENTITY: self._identity, KIND: kind, RUN: name}
            if kind != "sweep":
                tags["mlflow.parentRunId"] = self.parent
            self._known = None  # should the answer be lost, it is looked for
            run = self.client.create_run(self.experiment, now, tags, name)
            known[name] = Known(run.info.run_id, 0)
            self._known = known
        return known[name].id


def metrics_of(row: Row, now: int) -> list[Metric]:
    """Return an epoch's figures as MLflow keeps them; those that are not finite are left out.

    Args:
        row: an epoch of a training.
        now: milliseconds since 1970.
    """
    return [
        Metric(re.sub(f"^{SYSTEM}", "system/", key), float(value), now, int(row["epoch"]))
        for key, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def _collect(operation: Operation, rows: dict[str, list[tuple[int, Row]]]) -> None:
    added = [(operation["time"], row) for row in operation["rows"]]
    rows.setdefault(operation["run"], []).extend(added)


def settled(run: Run, outcome: Outcome) -> bool:
    """Whether a run says of its trial what the study says."""
    return run.info.status == STATUS[outcome] and run.data.tags.get(OUTCOME) == outcome


def batches(found: list[tuple[Operation, int]]) -> list[tuple[list[Operation], int]]:
    """Put neighbouring reports of epochs together; any other operation stands alone.

    Args:
        found: operations, each with the place where it ends.
    """
    cut: list[tuple[list[Operation], int]] = []
    for operation, end in found:
        if cut and operation.get("op") == "rows" == cut[-1][0][-1].get("op"):
            cut[-1][0].append(operation)
            cut[-1] = (cut[-1][0], end)
        else:
            cut.append(([operation], end))
    return cut
