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
        if settings is None:
            decisive = {}
        elif isinstance(settings, ProtocolSettings):
            decisive = settings.decisive()
        else:
            decisive = settings.model_dump(mode="json")

        def outcomes(task: Task) -> list[Outcome]:
            function = find("protocol", protocol).load()
            found: list[Outcome] = function(task) if settings is None else function(task, settings)
            return found

        name = f"transfer-{protocol}" if transferred else protocol
        return self._kept(name, task, outcomes, decisive, ledger, label or label_of(task.encoder))

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
        decisive = {"encoders": encoders, "weights": WEIGHTS}
        label = label or "C²VL, 3 streams"
        return self._kept("ensemble", first, lambda _: ensemble(tasks), decisive, ledger, label)

    def all(
        self, encoders: Sequence[tuple[Encoder, Path]], task: Callable[[Encoder], Task]
    ) -> list[Result]:
        """Run every protocol on any number of encoders, and the baselines beside them.

        Joint encoders pass every protocol; bone and motion enter the features' protocols, and an
        ensemble with the other streams of their training seed. The baselines are a random encoder,
        raw joints, and the same network trained with the labels from random weights.

        Args:
            encoders: each with its ledger's folder.
            task: makes the task of an encoder (store, split, part).
        """
        rows: list[Result] = []
        streams: dict[int, dict[str, tuple[Task, Path]]] = {}
        for encoder, ledger in encoders:
            one, stream = task(encoder), encoder.card["stream"]
            streams.setdefault(one.seed, {})[stream] = (one, ledger)
            for name in names("protocol") if stream == "joint" else FEATURES_ALONE:
                if name in BASELINES:
                    continue
                evaluation = self
                tableless = self.values.get("concepts") is None
                if name == "retrieval" and tableless:
                    self.say("retrieval: no captions (--concepts); left out")
                    continue
                if name in ("zero-shot", "retrieval") and "language" not in encoder.concepts:
                    if tableless:
                        self.say(f"{name}: {label_of(encoder)} keeps no map; left out")
                        continue
                    evaluation = replace(self, values={**self.values, "map": "fitted"})
                rows += evaluation.run(name, one, ledger=ledger)
        for found in streams.values():
            if set(found) == set(WEIGHTS):
                tasks = {stream: one for stream, (one, _) in found.items()}
                rows += self.ensemble(tasks, ledger=found["joint"][1])
        joint = [found["joint"][0] for found in streams.values() if "joint" in found]
        for one in joint:
            rows += self._beside(one)
        if joint:  # no network, so no seed: once
            one = replace(joint[0], seed=0)
            rows += self.run("raw-neighbours", one, ledger=self.out, label=JOINTS)
        return rows

    def _beside(self, task: Task) -> list[Result]:
        """Run the baselines that have a task's seed, architecture and preprocessing."""
        rows: list[Result] = []
        random = replace(task, encoder=fresh(task.encoder, task.seed).to(task.device))
        for name in FEATURES_ALONE:
            rows += self.run(name, random, ledger=self.out, label="random encoder")
        label = "supervised from scratch"
        return rows + self.run("supervised", random, ledger=self.out, label=label)

    def _kept(
        self,
        protocol: str,
        task: Task,
        run: Callable[[Task], list[Outcome]],
        decisive: dict[str, Any],
        ledger: Path,
        label: str,
    ) -> list[Result]:
        if (form := task.precision.name) != "fp32":
            decisive = {**decisive, "precision": form}
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
