"""Run protocols, keep their rows, and count each scoring of the test part."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from c2vl.encoder import Encoder
from c2vl.encoder.ledger import count_scoring
from c2vl.protocols.cost import expected
from c2vl.protocols.results import Result, file_of, read_results, to_results, write_results
from c2vl.protocols.settings import ProtocolSettings
from c2vl.protocols.supervised import fresh
from c2vl.protocols.task import Outcome, Task
from c2vl.protocols.three_streams import WEIGHTS, ensemble
from c2vl.registry import find, names
from c2vl.support.errors import UserError
from c2vl.support.files import write_error, write_text

FEATURES_ALONE = ("linear", "knn", "clustering", "few-shot")
BASELINES = ("supervised", "raw-neighbours")
JOINTS = "raw joints"


def label_of(encoder: Encoder) -> str:
    """Return the default label of an encoder in a table."""
    origin = encoder.card.get("provenance", {})
    kind = "supervised pretraining" if origin.get("labels used") else "C²VL"
    return f"{kind}, {encoder.card['stream']}"


def settings_of(protocol: str, values: Mapping[str, Any]) -> BaseModel | None:
    """Return a protocol's settings, from those of the values that it has a field for.

    Raises:
        UserError: there is no such protocol, or a value is out of range.
    """
    settings = find("protocol", protocol).load_settings()
    if settings is None:
        return None
    try:
        return settings(**{key: values[key] for key in settings.model_fields if key in values})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(place) for place in first["loc"]).replace("_", "-")
        raise UserError(f"{option}: {first['input']}; {first['msg']}") from None


@dataclass(frozen=True)
class Evaluation:
    """Runs protocols, and keeps their rows in a results folder.

    Attributes:
        out: the results folder.
        values: of protocol settings, by name; each protocol uses those it has a field for.
        again: run protocols again that have a result already.
        say: called with a line before each run.
    """

    out: Path
    values: Mapping[str, Any]
    again: bool = False
    say: Callable[[str], None] = lambda _: None

    def run(
        self,
        protocol: str,
        task: Task,
        *,
        ledger: Path,
        label: str | None = None,
        transferred: bool = False,
    ) -> list[Result]:
        """Run a protocol, or return its rows where the same question was answered before.

        Args:
            protocol: its registered name.
            task: what is evaluated.
            ledger: folder of the count of test scorings.
            label: row of the table; default: :func:`label_of`.
            transferred: the store is another dataset than the encoder's; rows are filed as
                transfer.
        """
        settings = settings_of(protocol, self.values)

        def outcomes(task: Task) -> list[Outcome]:
            function = find("protocol", protocol).load()
            found: list[Outcome] = function(task) if settings is None else function(task, settings)
            return found

        name = f"transfer-{protocol}" if transferred else protocol
        label, decisive = label or label_of(task.encoder), _decisive(settings, task)
        return self._kept(name, task, outcomes, decisive, ledger, label)

    def ensemble(
        self, tasks: Mapping[str, Task], *, ledger: Path, label: str | None = None
    ) -> list[Result]:
        """Run the three-stream ensemble; its rows name the joint encoder.

        Args:
            tasks: stream → its task.
            ledger: folder of the count of test scorings.
            label: row of the table.
        """
        encoders = {stream: task.encoder.digest for stream, task in tasks.items()}
        first = tasks.get("joint") or next(iter(tasks.values()))
        decisive = {"encoders": encoders, "weights": WEIGHTS, **_format(first)}
        label = label or "C²VL, 3 streams"
        return self._kept("ensemble", first, lambda _: ensemble(tasks), decisive, ledger, label)

    def all(
        self,
        encoders: Sequence[tuple[Encoder, Path]],
        task: Callable[[Encoder], Task],
        only: Sequence[str] = (),
    ) -> list[Result]:
        """Run every protocol on any number of encoders, and the baselines beside them.

        Joint encoders pass every protocol; bone and motion enter the features' protocols, and an
        ensemble with the other streams of their training seed. The baselines are a random encoder,
        raw joints, and the same network trained with the labels from random weights. What it will
        cost is said first.

        Args:
            encoders: each with its ledger's folder.
            task: makes the task of an encoder (store, split, part).
            only: protocols to run; all if empty.

        Raises:
            UserError: there is no protocol of a name in ``only``.
        """
        chosen = [find("protocol", name).name for name in only] or list(names("protocol"))
        plan: list[_Planned] = []
        streams: dict[int, dict[str, _Planned]] = {}
        for encoder, ledger in encoders:
            one, stream = task(encoder), encoder.card["stream"]
            first = _Planned(self, "", one, ledger)
            streams.setdefault(one.seed, {})[stream] = first
            for name in chosen if stream == "joint" else FEATURES_ALONE:
                if name in chosen and name not in BASELINES:
                    if evaluation := self._with_captions(name, encoder):
                        plan.append(replace(first, evaluation=evaluation, protocol=name))
        complete = [found for found in streams.values() if set(found) == set(WEIGHTS)]
        joint = [found["joint"] for found in streams.values() if "joint" in found]
        beside = [planned for one in joint for planned in self._beside(one.task)]
        if joint:  # no network, so no seed: once
            one = replace(joint[0].task, seed=0)
            beside.append(_Planned(self, "raw-neighbours", one, self.out, JOINTS))
        beside = [planned for planned in beside if planned.protocol in chosen]
        todo = [one for one in (*plan, *beside) if not one.is_done]
        for line in expected([(one.protocol, one.task, one.settings) for one in todo]):
            self.say(line)
        rows = [row for planned in plan for row in planned.run()]
        for found in complete if "linear" in chosen else ():
            tasks = {stream: one.task for stream, one in found.items()}
            rows += self.ensemble(tasks, ledger=found["joint"].ledger)
        return rows + [row for planned in beside for row in planned.run()]

    def _with_captions(self, protocol: str, encoder: Encoder) -> Evaluation | None:
        """Return what runs a protocol on an encoder; None, told, where it lacks captions."""
        tableless = self.values.get("concepts") is None
        if protocol == "retrieval" and tableless:
            self.say("retrieval: no captions (--concepts); left out")
            return None
        if protocol in ("zero-shot", "retrieval") and "language" not in encoder.concepts:
            if tableless:
                self.say(f"{protocol}: {label_of(encoder)} keeps no map; left out")
                return None
            return replace(self, values={**self.values, "map": "fitted"})
        return self

    def _beside(self, task: Task) -> list[_Planned]:
        """Plan the baselines that have a task's seed, architecture and preprocessing."""
        random = replace(task, encoder=fresh(task.encoder, task.seed).to(task.device))
        of_random = _Planned(self, "", random, self.out, "random encoder")
        plan = [replace(of_random, protocol=name) for name in FEATURES_ALONE]
        return [*plan, _Planned(self, "supervised", random, self.out, "supervised from scratch")]

    def _kept(
        self,
        protocol: str,
        task: Task,
        run: Callable[[Task], list[Outcome]],
        decisive: dict[str, Any],
        ledger: Path,
        label: str,
    ) -> list[Result]:
        path = file_of(self.out, protocol, task, label, decisive)
        what = f"{protocol}: {label}, seed {task.seed}, {task.part} part"
        if path.exists() and not self.again:
            self.say(f"{what}: is there already ({path.name})")
            return read_results(path)
        self.say(what)
        work = self.out / ".unfinished" / path.stem
        with _locked(work):
            if path.exists() and not self.again:  # another process has finished it meanwhile
                return read_results(path)
            run_id = _run_id(work, path)
            number = 0
            if task.part == "test":
                scored = (task.encoder.digest, protocol, task.store.digest, task.split.name)
                number = count_scoring(ledger, *scored, run=run_id)
            outcomes = run(replace(task, work=work))
            rows = to_results(
                protocol, task, outcomes, who=label, options=decisive, test_scoring=number
            )
            write_results(path, rows)
            shutil.rmtree(work, ignore_errors=True)
        return rows


@dataclass(frozen=True)
class _Planned:
    """A protocol that is to be run.

    Attributes:
        evaluation: what runs it, with the settings' values.
        protocol: its registered name.
        task: what is evaluated.
        ledger: folder of the count of test scorings.
        label: row of the table; None: :func:`label_of`.
    """

    evaluation: Evaluation
    protocol: str
    task: Task
    ledger: Path
    label: str | None = None

    @property
    def settings(self) -> BaseModel | None:
        """The protocol's settings."""
        return settings_of(self.protocol, self.evaluation.values)

    @property
    def is_done(self) -> bool:
        """Whether its rows are there and would be returned."""
        label = self.label or label_of(self.task.encoder)
        decisive = _decisive(self.settings, self.task)
        path = file_of(self.evaluation.out, self.protocol, self.task, label, decisive)
        return path.exists() and not self.evaluation.again

    def run(self) -> list[Result]:
        """Run it, or return its rows."""
        return self.evaluation.run(self.protocol, self.task, ledger=self.ledger, label=self.label)


def _decisive(settings: BaseModel | None, task: Task) -> dict[str, Any]:
    """Return what decides a protocol's figures beyond its task, as its rows record it."""
    if settings is None:
        return _format(task)
    if isinstance(settings, ProtocolSettings):
        return settings.decisive() | _format(task)
    return settings.model_dump(mode="json") | _format(task)


def _format(task: Task) -> dict[str, str]:
    name = task.precision.name
    return {} if name == "fp32" else {"precision": name}


def _run_id(work: Path, result: Path) -> str:
    """Return the name of a run; a killed run keeps its name and is counted once."""
    name = work / "run"
    if name.exists() and result.exists() and name.stat().st_mtime_ns < result.stat().st_mtime_ns:
        shutil.rmtree(work)  # the run was killed between writing its result and removing this
    if not name.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_text(name, uuid4().hex)
    return name.read_text(encoding="utf-8")


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Lock a run; a second process with the same run waits until the first ends."""
    path = work.with_name(f"{work.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise write_error(path, error) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
