"""The folder of a sweep: every name in it, and what is done with the names alone.

Of a sweep at a URL this is a copy in this machine's cache (:mod:`c2vl.training.mirror`), without
the checkpoints and encoders, which are fetched when they are used. The driver sends what it writes,
trainings write below the URL by themselves, and everybody else only reads.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from c2vl.support.remote import PATIENCE, Location, RemoteFolder, below
from c2vl.training.mirror import Mirror, mirror_path
from c2vl.training.run_folder import RunFolder

_SETTINGS = "sweep.yaml"
_LARGE = re.compile(r"(?:^|/)(?:checkpoints|encoder(?:-\d+)?)/")
_NUMBERED = re.compile(r"(?:final-\d+\.json|encoder-\d+)(?:/|$)")


class _Below:
    """The path of a name below the folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: SweepFolder, _: type[SweepFolder]) -> Path:
        return folder.path / self._name


@dataclass(frozen=True)
class SweepFolder:
    """``STORAGE/sweeps/NAME``.

    Attributes:
        path: absolute; of a sweep at a URL this machine's copy.
        url: where the folder lasts, if that is not the path.
    """

    path: Path
    url: str | None = None

    settings = _Below(_SETTINGS)  # the resolved sweep file; a sweep that has it has begun
    identity_file = _Below("id")  # tells the sweep from others of its name, here and in MLflow
    study = _Below("study.db")  # Optuna's record, unless `study` names another storage
    budget = _Below("budget.json")  # the hours used so far
    provenance = _Below("provenance.json")  # code, versions and data of each start
    lock = _Below("lock")  # held by the process that drives the sweep
    stop_request = _Below("stop")  # asks the driver to stop, from any host that sees the folder
    nodes_wanted = _Below("nodes_wanted")  # which nodes trials wait for in vain
    notes = _Below("tracking")  # what MLflow has still to be told, a file a run
    journal = _Below("tracking.jsonl")  # the same as earlier versions kept it: operations,
    journal_position = _Below("tracking.position")  # and how many bytes of them are delivered
    tune = _Below("tune")  # Ray Tune's own files, removed when Tune has ended
    trials = _Below("trials")  # run folders of the search
    finals = _Below("finals")  # run folders of the trainings after it
    final = _Below("final.json")  # who won, and the test figures
    encoder = _Below("encoder")  # the winner's
    results = _Below("results")  # rows of the protocols, and the count of test scorings
    report = _Below("report")  # tables and pictures
    lease = _Below("lease")  # at a URL: its driver; here: the last one of this machine

    @classmethod
    def of(cls, storage: Location, name: str) -> SweepFolder:
        """Return the folder of a sweep, whether it is there or not."""
        if isinstance(storage, Path):
            return cls(storage.absolute() / "sweeps" / name)
        url = below(storage, f"sweeps/{name}")
        return cls(mirror_path(url), url)

    @classmethod
    def names(cls, storage: Location) -> list[str]:
        """Return the names of the sweeps in a storage folder, sorted."""
        if isinstance(storage, Path):
            found = [path.parent.name for path in (storage / "sweeps").glob("*/sweep.yaml")]
        else:
            there = RemoteFolder(below(storage, "sweeps"))
            found = [one for one in there.folders() if there.changed(f"{one}/{_SETTINGS}")]
        return sorted(name for name in found if not name.startswith("."))  # those being deleted

    def __str__(self) -> str:
        return self.url or str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str | Path) -> Path:
        return self.path / name

    @property
    def begun(self) -> bool:
        """Whether the sweep has begun, and so can be resumed."""
        return self.settings.exists()

    @property
    def chosen(self) -> bool:
        """Whether the winner is chosen and its encoder kept."""
        return self.final.exists() and self.encoder.exists()

    @property
    def former_finals(self) -> list[Path]:
        """The choices from before each extension, the oldest first."""
        return sorted(self.path.glob("final-*.json"))

    def left(self) -> list[str]:
        """Return the names of results in it, which a new sweep must not take for its own."""
        results = (self.trials, self.finals, self.final, self.encoder)
        return [path.name for path in results if path.exists()]

    def make_identity(self) -> None:
        """Write a new identity, unless there is one."""
        if not self.identity_file.exists():
            write_text(self.identity_file, uuid.uuid4().hex)

    def identity(self) -> str:
        """Return what tells the sweep from others of its name, in the study and in MLflow.

        Raises:
            UserError: the folder has lost it.
        """
        if not self.identity_file.exists():
            raise UserError(
                f"{self.identity_file}: is not there, and without it the sweep's runs cannot be "
                "told from others'; restore it (the tag sweep_id of its MLflow runs)"
            )
        return self.identity_file.read_text(encoding="utf-8")

    def set_aside(self) -> None:
        """Keep a former choice on record, since more trials come.

        As ``final-K.json`` and ``encoder-K``: the plain names are for the choice among all trials.
        """
        former = self.former_finals
        number = len(former) + 1
        if self.url and former and self.final.exists():  # at a URL a kill leaves both
            number -= former[-1].read_bytes() == self.final.read_bytes()
        with self.having(self.encoder):
            for path in (self.encoder, self.final):
                if path.exists():
                    aside = path.with_name(f"{path.stem}-{number}{path.suffix}")
                    if aside.is_dir():
                        shutil.rmtree(aside)
                    path.rename(aside)
            self.send()

    def deleted(self) -> SweepFolder:
        """Return the folder under its name while it is being deleted."""
        return SweepFolder(self.path.with_name(f".deleted-{self.path.name}"))

    # --- at a URL -----------------------------------------------------------------------------

    @property
    def mirror(self) -> Mirror | None:
        """The copy and its URL; None of a folder that all processes share."""
        return None if self.url is None else _mirror(self.url, self.path)

    def run(self, path: Path) -> RunFolder:
        """Return one of its run folders."""
        return RunFolder(path, self.mirror)

    def pull(self, *, runs: bool) -> None:
        """Make a copy what lies at the URL, but for checkpoints and encoders.

        Args:
            runs: the folders in it too.
        """
        if self.mirror is None:
            return
        ours = self.mirror.among(*self._sent, self.trials, self.finals)
        left = lambda name: bool(_LARGE.search(name))  # noqa: E731
        stays = lambda name: not (ours(name) or _NUMBERED.match(name))  # noqa: E731
        self.mirror.pull(leave=left, stays=stays, deep=runs)
        if not runs:
            self.mirror.pull(leave=left, below=self.encoder.name)  # is there one?

    def place(self, path: Path) -> Location:
        """Return where one of its paths lasts: the path, or its URL."""
        if self.mirror is None or self.url is None:
            return path
        return below(self.url, self.mirror.name(path))

    def send(self, *paths: Path) -> None:
        """Send what was written to the URL, and delete there what was removed.

        Args:
            paths: files and folders; default: all that the driver writes.
        """
        if self.mirror is not None:
            self.mirror.push(*(paths or self._sent))

    @property
    def _sent(self) -> list[Path]:
        own = [self.identity_file, self.settings, self.provenance, self.budget, self.notes]
        own.append(self.nodes_wanted)
        own += [self.final, self.encoder, self.results, self.report]
        return own + [path for path in self.path.glob("*-*") if _NUMBERED.fullmatch(path.name)]

    @contextmanager
    def having(self, folder: Path) -> Iterator[Path]:
        """Yield a folder in it with its files, if it is there; what came from a URL goes again."""
        if self.mirror is None:
            yield folder
            return
        self.send()  # what is not at the URL yet
        with self.mirror.having(folder):
            yield folder

    def remove(self) -> None:
        """Delete the folder, its mark of having begun first."""
        if self.mirror is not None:
            remote = self.mirror.remote
            remote.delete(self.settings.name)
            for name in remote.folders():
                remote.delete_folder(name)
            for name in remote.listing(deep=False):
                if name != self.lease.name:
                    remote.delete(name)
            self.forget()
        else:
            shutil.rmtree(self.path)

    def forget(self) -> None:
        """Delete this machine's copy of one at a URL."""
        if self.mirror is not None:
            self.mirror.close(discard=True)
            _mirror.cache_clear()


@cache
def _mirror(url: str, path: Path) -> Mirror:
    """Return the process's one mirror of a folder: it knows what was sent."""
    return Mirror(url, PATIENCE)
