"""The folder of a sweep: every name in it, and what is done with the names alone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.files import write_text


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
        path: absolute.
    """

    path: Path

    settings = _Below("sweep.yaml")  # the resolved sweep file; a sweep that has it has begun
    identity_file = _Below("id")  # tells the sweep from others of its name, here and in MLflow
    study = _Below("study.db")  # Optuna's record, unless `study` names another storage
    budget = _Below("budget.json")  # the hours used so far
    provenance = _Below("provenance.json")  # code, versions and data of each start
    lock = _Below("lock")  # held by the process that drives the sweep
    stop_request = _Below("stop")  # asks the driver to stop, from any host that sees the folder
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

    @classmethod
    def of(cls, storage: Path, name: str) -> SweepFolder:
        """Return the folder of a sweep, whether it is there or not."""
        return cls(storage.absolute() / "sweeps" / name)

    @classmethod
    def names(cls, storage: Path) -> list[str]:
        """Return the names of the sweeps in a storage folder, sorted."""
        found = (path.parent.name for path in (storage / "sweeps").glob("*/sweep.yaml"))
        return sorted(name for name in found if not name.startswith("."))  # those being deleted

    def __str__(self) -> str:
        return str(self.path)

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
        number = len(self.former_finals) + 1
        for path in (self.encoder, self.final):
            if path.exists():
                path.rename(path.with_name(f"{path.stem}-{number}{path.suffix}"))

    def deleted(self) -> SweepFolder:
        """Return the folder under its name while it is being deleted."""
        return SweepFolder(self.path.with_name(f".deleted-{self.path.name}"))
