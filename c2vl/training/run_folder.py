"""A run's folder: the names of its files, and the code that reads and writes them.

::

    experiment.yaml   resolved settings, written when training begins
    metrics.jsonl     one line an epoch
    checkpoints/      the latest, until training is done
    encoder/          the trained encoder
    done.json         figures of the last epoch and seconds; written last
    error.json        why training ended for good
    warnings.txt      problems after which training continued
    starts.txt        what each start said: device, size, expected time
    ray/              Ray Train's own files
    answer.json  failures.txt    between Ray Train's documented trainer and its launcher

At a URL lies the same, but for the last two lines. Rank 0 and the launcher each work on a copy
(:mod:`c2vl.training.mirror`): a start begins with what lies at the URL, figures go there before
anybody is told of them, and ``done.json`` goes last. The driver of a sweep at a URL has another,
within its copy of the sweep's folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.config.reading import dump, from_dict
from c2vl.skeletons.staging import MANIFEST
from c2vl.support.errors import StorageFull, TrainingError, UserError
from c2vl.support.files import require_apart, write_text
from c2vl.support.remote import Location, below
from c2vl.support.yaml_files import parse_yaml
from c2vl.training.metrics_file import read_rows, table_of
from c2vl.training.mirror import Mirror


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training; it need not exist.

    Attributes:
        path: the folder.
        mirror: of the URL that it, or a folder above it, stands for; None for a folder that all
            processes share.
    """

    path: Path
    mirror: Mirror | None = None

    @classmethod
    def at(cls, location: Location) -> RunFolder:
        """Return the folder of a path, or this machine's copy of one at a URL."""
        if isinstance(location, Path):
            return cls(location)
        mirror = Mirror(location)
        return cls(mirror.path, mirror)

    def __str__(self) -> str:
        return str(self.location)

    @property
    def location(self) -> Location:
        """Where its files last: the path, or the URL that it stands for."""
        if self.mirror is None:
            return self.path
        name = self.mirror.name(self.path)
        return below(self.mirror.url, name) if name else self.mirror.url

    @property
    def settings(self) -> Path:
        """The file of the resolved experiment."""
        return self.path / "experiment.yaml"

    @property
    def metrics(self) -> Path:
        """The file of figures, one line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def encoder(self) -> Path:
        """The folder of the trained encoder."""
        return self.path / "encoder"

    @property
    def ray(self) -> Path:
        """The folder of Ray Train's own files."""
        return self.path / "ray"

    @property
    def _done(self) -> Path:
        return self.path / "done.json"

    @property
    def _error(self) -> Path:
        return self.path / "error.json"

    @property
    def _warnings(self) -> Path:
        return self.path / "warnings.txt"

    @property
    def _starts(self) -> Path:
        return self.path / "starts.txt"

    @property
    def _answer(self) -> Path:
        return self.path / "answer.json"

    @property
    def _failures(self) -> Path:
        return self.path / "failures.txt"

    # --- at a URL -----------------------------------------------------------------------------

    def pull(self, *, checkpoints: bool = False) -> None:
        """Make a copy what lies at the URL.

        Args:
            checkpoints: copy them too. The encoder stays there.
        """
        if self.mirror is None:
            return
        left = [self.encoder] + [self.checkpoints] * (not checkpoints)
        files = (self.settings, self.metrics, self._done, self._error, self._warnings, self._starts)
        ours = self.mirror.among(*files, self.checkpoints, self.encoder)
        self.mirror.pull(
            leave=self.mirror.among(*left),
            stays=lambda name: not ours(name),
            below=self.mirror.name(self.path),
        )

    def pull_checkpoints(self) -> None:
        """Copy the checkpoints from the URL, for a worker that writes nothing."""
        if self.mirror is not None:
            self.mirror.pull(below=self.mirror.name(self.checkpoints))

    @contextmanager
    def having_encoder(self) -> Iterator[Path]:
        """Yield the encoder's folder; where it lies at a URL, a copy that goes again."""
        place = self.encoder
        with nullcontext() if self.mirror is None else self.mirror.having(place):
            yield place

    def send(self, *paths: Path) -> None:
        """Send files, and all files of folders, to the URL."""
        if self.mirror is not None:
            self.mirror.push(*paths)

    def send_figures(self) -> None:
        """Send what describes the epochs so far."""
        self.send(self.metrics, self._warnings, self._starts)

    # --- begin --------------------------------------------------------------------------------

    def claim(self, resolved: str) -> None:
        """Make the folder, or check that it belongs to the same experiment.

        Args:
            resolved: the resolved experiment as YAML.

        Raises:
            UserError: the folder holds another experiment, or cannot be written.
        """
        self._refuse_another(resolved)
        if not self.settings.exists():
            write_text(self.settings, resolved)
        self.send(self.settings)

    def require_own(self) -> None:
        """Refuse a place of something else, before anything is written there.

        Raises:
            UserError: it is a file, a store or a concept table, or it has folders and nothing of a
                run. Files alone (a log that the shell has opened, notes) are in nobody's way.
        """
        require_apart(self.path)
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"{self}: is a file; give another folder for the run")
        found = [path for path in self.path.iterdir() if not path.name.startswith(".")]
        there, folders = {path.name for path in found}, any(path.is_dir() for path in found)
        own = (self.settings, self.metrics, self.checkpoints, self.encoder, self.ray, self._done,
               self._error, self._warnings, self._starts, self._answer, self._failures)  # fmt: skip
        if MANIFEST in there or (folders and there.isdisjoint(path.name for path in own)):
            raise UserError(
                f"{self}: holds something else than a run (such as {min(there)}); give another "
                "folder for the run"
            )

    def reopen(self, resolved: str) -> None:
        """Remove the error that ended the last start.

        If that start finished no epoch, its settings are removed too: the user may have corrected
        them, and no result depends on the old ones yet.

        Args:
            resolved: the resolved experiment as YAML.

        Raises:
            UserError: the folder holds another experiment.
        """
        failed = self._error.exists()
        made = (self.checkpoints, self.metrics, self.encoder, self._done)
        if failed and not any(path.exists() for path in made):
            self.settings.unlink(missing_ok=True)
        self._refuse_another(resolved)
        if failed:
            self._error.unlink(missing_ok=True)
        self.send(self.settings, self._error)

    def _refuse_another(self, resolved: str) -> None:
        if self.settings.exists() and not _same(self.settings.read_text("utf-8"), resolved):
            raise UserError(
                f"{self}: holds a run with other settings (see its {self.settings.name}); "
                "choose another folder, or remove this one"
            )

    def abandon(self, *, made: bool) -> None:
        """Remove the traces of a start that failed before it claimed the folder.

        Args:
            made: whether that start created the folder.
        """
        self.pull()
        if self.settings.exists():
            return
        if made and self.mirror is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self._error.unlink(missing_ok=True)
            self.send(self._error)

    # --- figures ------------------------------------------------------------------------------

    def newest_rows(self) -> list[dict[str, Any]]:
        """Return the figures by epoch that a worker on another machine may have sent meanwhile."""
        if self.mirror is not None:
            self.mirror.refresh(self.mirror.name(self.metrics))
        return self.rows()

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures by epoch; an incomplete last line is left out."""
        return read_rows(self.metrics)

    def table(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return some figures by epoch, (epochs, names); see :func:`.metrics_file.table_of`."""
        return table_of(self.metrics.read_bytes() if self.metrics.exists() else b"", names)

    # --- end ----------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Return whether training has finished."""
        return self._done.exists()

    def result(self) -> dict[str, Any]:
        """Return the figures of a finished training's last epoch."""
        result: dict[str, Any] = json.loads(self._done.read_text(encoding="utf-8"))["metrics"]
        return result

    def finish(self, seconds: float) -> dict[str, Any]:
        """Mark training as done, record its seconds, and return its last epoch's figures."""
        last = self.newest_rows()[-1]
        write_text(self._done, json.dumps({"metrics": last, "seconds": seconds}))
        self.send(self._done)
        return last

    @property
    def failed(self) -> bool:
        """Return whether training ended with an error that a retry cannot fix."""
        return self._error.exists()

    def fail(self, error: UserError | TrainingError) -> None:
        """Write down the error that ended training.

        Raises:
            UserError: it cannot be written.
        """
        written = {"kind": type(error).__name__, "message": str(error)}
        write_text(self._error, json.dumps(written))
        self.send(self._error, self._warnings, self._starts)

    def error(self) -> UserError | TrainingError | None:
        """Return the error that training ended with, if it did."""
        if not self.failed:
            return None
        found = json.loads(self._error.read_text(encoding="utf-8"))
        kinds = {kind.__name__: kind for kind in (UserError, StorageFull)}
        return kinds.get(found["kind"], TrainingError)(found["message"])

    def warn(self, lines: Iterable[str]) -> None:
        """Append warnings, for a process elsewhere that watches the run."""
        _append(self._warnings, lines)

    def warnings(self) -> str:
        """Return the problems after which training continued, a line each."""
        path = self._warnings
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def say(self, lines: Iterable[str]) -> None:
        """Append what a start says about itself."""
        _append(self._starts, lines)

    def said(self) -> list[str]:
        """Return what all starts said about themselves, a line each."""
        return _lines(self._starts)

    # --- between the documented trainer's processes -------------------------------------------

    def answer(self, epoch: int, *, go_on: bool) -> None:
        """Let the workers continue after an epoch, or end them."""
        write_text(self._answer, json.dumps([epoch, go_on]))

    def answered(self) -> tuple[int, bool]:
        """Return the last epoch that was answered, and whether the workers are to continue."""
        if not self._answer.exists():
            return 0, True
        epoch, go_on = json.loads(self._answer.read_text(encoding="utf-8"))
        return epoch, go_on

    def note_failure(self, why: str) -> None:
        """Append why workers failed."""
        _append(self._failures, [why])

    def failures(self) -> list[str]:
        """Return why workers failed, a line each time."""
        return _lines(self._failures)

    def forget_answers(self) -> None:
        """Remove what an earlier start has left."""
        self._answer.unlink(missing_ok=True)
        self._failures.unlink(missing_ok=True)

    # --- clean up -----------------------------------------------------------------------------

    def drop_checkpoints(self, *, keep: int = 0) -> None:
        """Remove the checkpoints of a run that is done, but the newest ``keep``."""
        if self.mirror is not None:
            self.mirror.delete(self.checkpoints, keep=keep)
        if keep == 0:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            return
        for old in sorted(self.checkpoints.glob("step-*.pt"))[:-keep]:
            old.unlink(missing_ok=True)

    def drop_encoder(self) -> None:
        """Remove the encoder of a run that is done; its figures stay."""
        if self.mirror is not None:
            self.mirror.delete(self.encoder)
        shutil.rmtree(self.encoder, ignore_errors=True)


def _append(path: Path, lines: Iterable[str]) -> None:
    if text := "".join(f"{line}\n" for line in lines):
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _same(written: str, resolved: str) -> bool:
    """Return whether two experiments are equal; earlier releases wrote fewer settings."""
    try:
        return written == resolved or dump(from_dict(parse_yaml(written))) == resolved
    except (TypeError, ValueError):
        return False
