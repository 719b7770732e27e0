"""Updates that MLflow has not received yet, kept on disk: they survive an outage or a kill.

A run folder holds a training's figures, and the study its outcome. A note holds everything else:
attempts, seconds, node, errors, files to upload. The driver writes a run's note to
``tracking/RUN.json`` in the sweep's folder when a training starts, and removes it once MLflow has
received the end of the training. After a kill the next driver sends the notes again; sending one
twice changes nothing (:mod:`.run_sync`).
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from c2vl.support.errors import StorageFull
from c2vl.support.files import write_text
from sweeps.spec.sweep_folder import SweepFolder

OUTCOME, RUNNING = "outcome", "RUNNING"

log = logging.getLogger(__name__)


class Note(BaseModel):
    """Updates of one run that MLflow has not received yet, besides the figures in its run folder.

    Attributes:
        run: the run's name.
        kind: "sweep" (the parent), "trial", "repeat", "final", or "training" (of `c2vl train`).
        folder: the run folder; empty for the parent. Of a sweep at a URL it is relative to the
            sweep's folder, and so are ``folders``.
        status: the MLflow status to set; empty leaves it unchanged.
        time: of the newest fact, in ms since 1970.
        if_unsettled: send only if MLflow has another status or outcome. The study holds the same
            facts, so this note is not kept on disk.
        config: the training's settings.
        data: its datasets.
        tags: as MLflow keeps them.
        experiment_tags: the same of the run's experiment.
        texts: text artefacts by name.
        files: to be uploaded.
        folders: to be uploaded, by their name in the run.
        metrics: figures of the whole run, each with its time.
        attempts: ids of the starts, in order.
        seconds: how long each attempt took, by the time of its end.
    """

    run: str
    kind: str = "trial"
    folder: str = ""
    status: str = ""
    time: int = 0
    if_unsettled: bool = False
    config: dict[str, Any] = {}
    data: list[dict[str, str]] = []
    tags: dict[str, str] = {}
    experiment_tags: dict[str, str] = {}
    texts: dict[str, str] = {}
    files: list[str] = []
    folders: dict[str, str] = {}
    metrics: dict[str, tuple[float, int]] = {}
    attempts: list[str] = []
    seconds: dict[int, float] = {}

    def adding(self, facts: dict[str, Any]) -> Note:
        """Return a note with more facts: dictionaries and attempts grow, the rest is replaced."""
        known = self.model_dump()
        for name, value in facts.items():
            if isinstance(value, dict):
                value = {**known[name], **value}
            elif name == "attempts":
                value = [*self.attempts, *value]
            known[name] = value
        return Note(**{**known, "if_unsettled": facts.get("if_unsettled", False)})


@dataclass
class Entry:
    """A note in memory.

    Attributes:
        note: replaced, never changed, by each new fact.
        epoch: the newest one reported since MLflow was last updated; 0 if none.
        told: MLflow has received the whole note.
        saved: the note is on disk.
    """

    note: Note
    epoch: int = 0
    told: bool = False
    saved: bool = False


class Backlog:
    """The notes of one sweep: the driver adds facts, and another thread sends them to MLflow.

    Args:
        folder: the sweep's folder; this process holds its lock.

    Attributes:
        changed: notified when there is more to send.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder, self._full = folder, False
        self._entries = _read(folder)
        self.changed = threading.Condition()
        if self.save():
            for path in (folder.journal, folder.journal_position):
                path.unlink(missing_ok=True)

    def add(self, run: str, **facts: Any) -> None:
        """Add facts to a run's note; while the disk is full, the note stays in memory."""
        with self.changed:
            entry = self._entries.pop(run, None) or Entry(Note(run=run))
            entry.note = entry.note.adding({"time": now(), **facts})
            entry.told, entry.saved = False, entry.note.if_unsettled
            self._entries[run] = entry  # the newest last, so that the parent closes last
            self.save()
            self.changed.notify_all()

    def add_epoch(self, run: str, epoch: int) -> None:
        """Record that a run folder has a new epoch."""
        with self.changed:
            self._entries.setdefault(run, Entry(Note(run=run))).epoch = epoch
            self.changed.notify_all()

    def knows(self, run: str) -> bool:
        """Whether there is a note about a run."""
        return run in self._entries

    def save(self) -> bool:
        """Write unsaved notes to disk; return False if the disk is full."""
        with self.changed:
            for entry in [entry for entry in self._entries.values() if not entry.saved]:
                text = entry.note.model_dump_json(exclude_defaults=True)
                try:
                    write_text(_path(self._folder, entry.note.run), text)
                except StorageFull as error:
                    if not self._full:
                        log.warning("%s: what is to be written to MLflow is kept in memory", error)
                    self._full = True
                    return False
                entry.saved = True
            self._full = False
        return True

    def untold(self) -> list[tuple[Note, int, bool]]:
        """Return unsent notes, each with its newest epoch and whether the note itself is new."""
        with self.changed:
            return [
                (entry.note, entry.epoch, not entry.told)
                for entry in self._entries.values()
                if entry.epoch or not entry.told
            ]

    def done(self, note: Note, epoch: int) -> None:
        """Mark a note as sent to MLflow; facts added meanwhile stay unsent."""
        with self.changed:
            entry = self._entries[note.run]
            if entry.epoch == epoch:
                entry.epoch = 0
            if entry.note is not note:
                return
            entry.told = True
            entry.note = Note(run=note.run, kind=note.kind, folder=note.folder, status=note.status)
            if not entry.epoch and note.status != RUNNING:
                del self._entries[note.run]
                _path(self._folder, note.run).unlink(missing_ok=True)

    def close(self) -> bool:
        """Remove the remaining notes if all is sent; return False if something is not."""
        if self.untold():
            return False
        shutil.rmtree(self._folder.notes, ignore_errors=True)
        return True


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def waiting(folder: SweepFolder) -> int:
    """Return how many runs of a sweep have unsent updates; changes nothing."""
    return len(_read(folder))


def _path(folder: SweepFolder, run: str) -> Path:
    return folder.notes / f"{run}.json"


def _read(folder: SweepFolder) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for path in sorted(folder.notes.glob("*.json")):
        try:
            found[path.stem] = Entry(Note.model_validate_json(path.read_bytes()), saved=True)
        except ValueError:
            _damaged(f"{path}", folder.path.name)
    for operation in _journal(folder):
        _fold(folder, operation, found)
    return found


def _damaged(what: str, sweep: str) -> None:
    log.warning(
        "%s: is damaged and not written to MLflow; once the sweep has ended, "
        "`c2vl-sweep reconcile %s` adds what is missing there",
        what,
        sweep,
    )


# --- folders of earlier versions, which kept a journal of operations ------------------------------


def _journal(folder: SweepFolder) -> Iterator[dict[str, Any]]:
    """Yield operations that an earlier version did not deliver; skip an incomplete last line."""
    journal, mark = folder.journal, folder.journal_position
    if not journal.exists():
        return
    content = journal.read_bytes()
    start = int(mark.read_text() or 0) if mark.exists() else 0
    start = start if start <= len(content) else 0
    first = content.count(b"\n", 0, start) + 1
    for number, line in enumerate(content[start:].split(b"\n")[:-1], first):
        try:
            operation = json.loads(line)
            yield {"op": operation["op"], "time": operation["time"], **operation}
        except (ValueError, TypeError, KeyError):
            _damaged(f"{journal}, line {number}", folder.path.name)


def _fold(folder: SweepFolder, operation: dict[str, Any], found: dict[str, Entry]) -> None:
    """Turn an operation of an earlier version into facts."""
    if operation["op"] == "settle":  # the study says the same
        return
    run, when = operation["run"], operation["time"]
    entry = found.setdefault(run, Entry(Note(run=run)))
    known = ("kind", "config", "data", "tags", "texts", "files", "folders", "status")
    facts = {name: operation[name] for name in known if name in operation}
    if home := next(folder.path.glob(f"*/{run}/experiment.yaml"), None):
        kind = "final" if home.parts[-3] == "finals" else "trial"
        facts |= {"folder": str(home.parent), "kind": kind}
    if operation["op"] == "open":
        facts |= {"status": RUNNING, "tags": {OUTCOME: "running", **operation.get("tags", {})}}
        facts["attempts"] = [operation["id"]] if "id" in operation else []
    if seconds := operation.get("seconds"):
        facts["seconds"] = {when: seconds}
    facts["metrics"] = {key: (value, when) for key, value in operation.get("metrics", {}).items()}
    entry.note, entry.saved = entry.note.adding({"time": when, **facts}), False
