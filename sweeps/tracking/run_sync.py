"""Updates the MLflow runs of a sweep, or of a training, from their run folders and notes.

Live tracking, a resume and ``c2vl-sweep reconcile`` share this code. Repeating an update changes
nothing: a run is looked up by its tags before it is created, an epoch is logged only once, and
an attempt is counted by its id and its seconds by the time of its end.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from c2vl.config.reading import flatten, read_yaml
from c2vl.support.errors import StorageAway
from c2vl.support.remote import Location
from c2vl.training.figures import COUNTERS
from c2vl.training.run_folder import RunFolder
from sweeps.spec import provenance
from sweeps.spec.store_addresses import reason
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.spec.training import Outcome, Row
from sweeps.tracking.backlog import OUTCOME, RUNNING, Note
from sweeps.tracking.logged_epochs import LoggedEpochs
from sweeps.tracking.mlflow_store import open_client, open_experiment
from sweeps.tracking.pages import WINNER, metric_name, origin

STATUS: dict[Outcome, str] = {
    "complete": "FINISHED",
    "pruned": "FINISHED",  # as decided; MLflow marks what is KILLED like what FAILED
    "failed": "FAILED",
    "interrupted": "KILLED",
}
SWEEP, IDENTITY, KIND, RUN, TRIAL = "sweep", "sweep_id", "kind", "run", "trial"
ATTEMPTS, ATTEMPT, NODE = "attempts", "attempt_id", "node"
EPOCH, WALL_SECONDS = "epoch", "wall_seconds"
MARKER = metric_name("loss")  # every epoch has it; "epoch" itself would be an axis to compare on
PERMANENT = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}
BATCH, PARAMS = 900, 90  # MLflow takes 1000 metrics and 100 parameters at once
DIGEST_LENGTH = 36  # of a dataset in MLflow

log = logging.getLogger(__name__)


@dataclass
class Known:
    """What is known of a run without asking MLflow.

    Attributes:
        id: MLflow's.
        epochs: that it has; None: ask.
        says: its status and outcome.
        plain: an earlier release has begun it, and figures have their plain names in it.
    """

    id: str
    epochs: set[int] | None = field(default_factory=set)
    says: tuple[str, str | None] = (RUNNING, None)
    plain: bool = False

    def shown(self, figure: str) -> str:
        """Return a figure's name in this run."""
        return metric_name(figure, plain=self.plain)


@dataclass(frozen=True)
class Place:
    """Where runs lie.

    Attributes:
        uri: of MLflow.
        experiment: MLflow's, by name.
        storage: for the artefacts of a database without a server.
    """

    uri: str
    experiment: str
    storage: Location


class Runs:
    """The runs of one sweep, or that of one training.

    Args:
        name: of the run that the others stand below.
        identity: tells it from another of the same name.
        program: the command and what it works on, for MLflow's "Source".
        folder: at which relative paths of notes start.

    Attributes:
        logged: which epochs are told.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        identity: str,
        logged: LoggedEpochs,
        program: str,
        folder: SweepFolder | None = None,
    ) -> None:
        self._place, self._name, self._identity = place, name, identity
        self.logged, self._program = logged, program
        self._folder = folder or SweepFolder(Path())
        self._known: dict[str, Known] | None = None

    @cached_property
    def client(self) -> MlflowClient:
        """The client; raises an MLflow error if the store does not answer."""
        return open_client(self._place.uri)

    @cached_property
    def experiment(self) -> str:
        """Id of the MLflow experiment."""
        place = self._place
        return open_experiment(self.client, place.uri, place.experiment, place.storage)

    @cached_property
    def _origin(self) -> dict[str, str]:
        return origin(self._program, provenance.git_commit())

    def id_of(self, name: str) -> str | None:
        """Return MLflow's id of a run by its name; None if there is no such run."""
        known = self._load().get(name)
        return None if known is None else known.id

    @property
    def parent(self) -> str:
        """Id of the parent run."""
        return self._run(self._name, "sweep").id

    def bring(self, note: Note, new: bool = True) -> None:
        """Update a run from its run folder and its note; create it if it is missing.

        Data that MLflow rejects permanently is skipped with a warning; any other failure is
        raised, and the update can be retried.

        Args:
            note: facts that the run folder does not hold.
            new: False if only the run folder has new data.
        """
        _attempt(partial(self._bring, note, new))

    def _bring(self, note: Note, new: bool) -> None:
        known = self._run(note.run, note.kind, note.time or None)
        if not new:
            self._log_epochs(known, note)
            return
        says = (note.status, note.tags.get(OUTCOME))
        if note.if_unsettled and agrees(known.says, says):
            return
        client, run_id = self.client, known.id
        run = client.get_run(run_id)
        if note.status == RUNNING != run.info.status:
            _attempt(partial(client.update_run, run_id, status=RUNNING))
        note = self._filled_in(note, config=not run.data.params)
        self._log_params(run, note.config)
        self._log_datasets(run, note.data)
        self._log_epochs(known, note)
        for key, value in note.experiment_tags.items():
            _attempt(partial(client.set_experiment_tag, self.experiment, key, value))
        metrics = [Metric(key, value, when, 0) for key, (value, when) in note.metrics.items()]
        metrics += self._seconds(known, note.seconds)
        tags = [RunTag(*tag) for tag in (note.tags | _attempts(note, run.data.tags)).items()]
        if metrics or tags:
            _attempt(partial(client.log_batch, run_id, metrics=metrics, tags=tags))
        for name, text in note.texts.items():
            _attempt(partial(client.log_text, run_id, text, name))
        for path in note.files:
            if Path(path).is_file():
                _attempt(partial(client.log_artifact, run_id, path))
        for name, path in note.folders.items():
            folder = self._folder / path
            if folder.is_dir():  # an encoder that better ones have replaced is not kept
                with self._folder.having(folder):
                    _attempt(partial(client.log_artifacts, run_id, str(folder), name))
        again = note.kind == "sweep" or note.seconds  # it has run since, whatever MLflow says
        ended = run.info.status, run.data.tags.get(OUTCOME)
        if note.status not in ("", RUNNING) and (again or not agrees(ended, says)):
            _attempt(partial(client.set_terminated, run_id, note.status, note.time))
        known.says = says

    def _log_params(self, run: Run, config: dict[str, Any]) -> None:
        if run.data.params.get(WINNER, config.get(WINNER)) != config.get(WINNER):
            return  # a sweep's, of its first winner: MLflow cannot change parameters
        found = {key: str(value) for key, value in flatten(config).items() if key != "name"}
        absent = [Param(*item) for item in found.items() if item[0] not in run.data.params]
        if absent:
            _attempt(partial(self.client.log_dict, run.info.run_id, config, "config.json"))
        for first in range(0, len(absent), PARAMS):
            part = absent[first : first + PARAMS]
            _attempt(partial(self.client.log_batch, run.info.run_id, params=part))

    def _log_datasets(self, run: Run, data: list[dict[str, str]]) -> None:
        if not data or (run.inputs is not None and run.inputs.dataset_inputs):
            return
        inputs = [
            DatasetInput(
                Dataset(
                    name=one["name"],
                    digest=one["digest"][:DIGEST_LENGTH],
                    source_type="local",
                    source=json.dumps({"uri": one["path"]}),
                ),
                [InputTag("mlflow.data.context", one["context"])],
            )
            for one in data
        ]
        _attempt(partial(self.client.log_inputs, run.info.run_id, inputs))

    def _log_epochs(self, known: Known, note: Note) -> None:
        """Log those epochs of a run folder that MLflow lacks and is to have.

        Their times follow from the file's own and from the seconds that each epoch took.
        """
        home = RunFolder(self._folder / note.folder)
        if not note.folder or not (rows := home.rows()):
            return
        there, when = set(self._epochs(known)), home.metrics.stat().st_mtime * 1000
        ended = note.status not in ("", RUNNING)
        wanted = self.logged.of((row["epoch"] for row in rows), ended=ended) - there
        absent: list[list[Metric]] = []
        for row in reversed(rows):
            if row["epoch"] in wanted:
                absent.insert(0, metrics_of(row, int(when), known.shown))
            when -= 1000 * row.get("seconds", 0.0)
        while absent:
            batch = absent.pop(0)
            while absent and len(batch) + len(absent[0]) <= BATCH:  # an epoch is never cut
                batch += absent.pop(0)
            known.epochs = None  # if this raises, MLflow may have it all the same: then it is asked
            _attempt(partial(self.client.log_batch, known.id, metrics=batch))
            known.epochs = there = there | {metric.step for metric in batch}

    def _filled_in(self, note: Note, *, config: bool) -> Note:
        """Fill facts missing from the note with those of the run folder."""
        if not note.folder:
            return note
        home = RunFolder(self._folder / note.folder)
        facts: dict[str, Any] = {}
        if config and not note.config and home.settings.is_file():
            facts["config"] = read_yaml(home.settings)
        if note.status == STATUS["failed"] and "error.txt" not in note.texts:
            if (error := home.error()) is not None:
                facts["texts"] = {"error.txt": str(error)}
        return note.adding(facts) if facts else note

    def _epochs(self, known: Known) -> set[int]:
        if known.epochs is None:
            marker = EPOCH if known.plain else MARKER
            history = self.client.get_metric_history(known.id, marker)
            known.epochs = {metric.step for metric in history}
        return known.epochs

    def _seconds(self, known: Known, ended: dict[int, float]) -> list[Metric]:
        """Add attempts' seconds to those of the attempts before; each counts once."""
        if not ended:
            return []
        last = max(self._epochs(known), default=0)
        name = known.shown(WALL_SECONDS)
        history = self.client.get_metric_history(known.id, name)
        total = {metric.timestamp: metric.value for metric in history}
        new = []
        for when, seconds in sorted(ended.items()):
            if when not in total:
                total[when] = max(total.values(), default=0.0) + seconds
                new.append(Metric(name, total[when], when, last))
        return new

    def _load(self) -> dict[str, Known]:
        """Return runs by name, queried once: a query for each trial would slow down over time."""
        if self._known is None:
            self._known = {
                run.data.tags[RUN]: Known(
                    run.info.run_id,
                    None if epoch_metric(run) in run.data.metrics else set(),
                    (run.info.status, run.data.tags.get(OUTCOME)),
                    EPOCH in run.data.metrics,
                )
                for run in reversed(find_runs(self.client, self.experiment, self._identity))
            }
        return self._known

    def _run(self, name: str, kind: str, when: int | None = None) -> Known:
        """Return what is known of a run; create it if it is missing."""
        known = self._load()
        if name not in known:
            tags = {SWEEP: self._name} if kind != "training" else {}
            tags |= {IDENTITY: self._identity, KIND: kind, RUN: name, **self._origin}
            if kind not in ("sweep", "training"):
                tags["mlflow.parentRunId"] = self.parent
            self._known = None  # if the answer is lost, look the run up next time
            run = self.client.create_run(self.experiment, when, tags, name)
            known[name] = Known(run.info.run_id)
            self._known = known
        return known[name]


class SweepRuns(Runs):
    """The runs of one sweep; its parent run bears its name."""

    def __init__(self, spec: SweepSettings, identity: str) -> None:
        place = Place(spec.tracking_uri, spec.tracking.experiment, spec.storage)
        logged, program = LoggedEpochs.of_sweep(spec), f"c2vl-sweep {spec.name}"
        super().__init__(place, spec.name, identity, logged, program, spec.folder)


def find_runs(client: MlflowClient, experiment: str, identity: str) -> list[Run]:
    """Return all runs of a sweep, the parent too, the newest first.

    Args:
        experiment: id of the MLflow experiment.
    """
    found: list[Run] = []
    token, query = None, f"tags.{IDENTITY} = '{identity}'"
    while True:
        page = client.search_runs([experiment], query, max_results=1000, page_token=token)
        found += page
        if not (token := page.token):
            return found


def epoch_metric(run: Run) -> str:
    """Return the metric that every logged epoch has; in runs of earlier releases another one."""
    return EPOCH if EPOCH in run.data.metrics else MARKER


def agrees(found: tuple[str, str | None], wanted: tuple[str, str | None]) -> bool:
    """Say whether status and outcome of a run are as wanted.

    Earlier releases wrote pruned trials as KILLED, and these stay so.
    """
    return found == wanted or (found == ("KILLED", "pruned") and wanted[1] == "pruned")


def metrics_of(row: Row, when: int, shown: Callable[[str], str] = metric_name) -> list[Metric]:
    """Return an epoch's figures, at a time in ms; those that are not finite are left out.

    The epoch is their step; it is no figure, but in the runs of earlier releases.

    Args:
        shown: returns a figure's name in MLflow.
    """
    return [
        Metric(shown(key), float(value), when, int(row["epoch"]))
        for key, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value)
        if key not in COUNTERS or shown(key) == key
    ]


def _attempts(note: Note, tags: dict[str, str]) -> dict[str, str]:
    """Return the attempt-count tags, updated with attempts not counted yet."""
    if note.kind == "sweep":
        return {}
    new, counted = note.attempts, tags.get(ATTEMPT)
    if counted in new:
        new = new[new.index(counted) + 1 :]
    if not new and ATTEMPTS not in tags:
        new = ["settled"]  # it ran, and no driver told of its start
    if not new:
        return {}
    return {ATTEMPTS: str(int(tags.get(ATTEMPTS, 0)) + len(new)), ATTEMPT: new[-1]}


def _attempt(write: Callable[[], object]) -> None:
    try:
        write()
    except MlflowException as error:
        if error.error_code not in PERMANENT:
            raise
        log.warning("MLflow refused a write: %s", reason(error))
    except (OSError, SQLAlchemyError, StorageAway):
        raise
    except Exception:
        log.exception("a write to MLflow is left out")
