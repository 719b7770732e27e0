"""The folder of a sweep: every name in it, and what is done with the names alone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.files import write_text


@dataclass(frozen=True)
class SweepFolder:
    """``STORAGE/sweeps/NAME``.

    Attributes:
        path: absolute.
    """

    path: Path

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

    # --- what was asked for ----------------------------------------------------------------------

    @property
    def settings(self) -> Path:
        """The resolved sweep file; the sweep has begun once it is there."""
        return self.path / "sweep.yaml"

    @property
    def begun(self) -> bool:
        """Whether the sweep has begun, and so can be resumed."""
        return self.settings.exists()

    def make_identity(self) -> None:
        """Write what tells this sweep from a former one of the same name, unless it is there."""
        if not self._identity.exists():
            write_text(self._identity, uuid.uuid4().hex)

    def identity(self) -> str:
        """Return what tells the sweep from others of its name, in the study and in MLflow.

        Raises:
            UserError: the folder has lost it.
        """
        if not self._identity.exists():
            raise UserError(
                f"{self._identity}: is not there, and without it the sweep's runs cannot be told "
                "from others'; restore it (the tag sweep_id of its MLflow runs)"
            )
        return self._identity.read_text(encoding="utf-8")

    @property
    def _identity(self) -> Path:
        return self.path / "id"

    # --- while a process drives it ---------------------------------------------------------------

    @property
    def lock(self) -> Path:
        """Held by the process that drives the sweep (:mod:`sweeps.spec.lock`)."""
        return self.path / "lock"

    @property
    def stop_request(self) -> Path:
        """Asks the driver to stop, from any host that sees the folder."""
        return self.path / "stop"

    @property
    def tune(self) -> Path:
        """Ray Tune's own files, removed when it has ended."""
        return self.path / "tune"

    # --- what was tried --------------------------------------------------------------------------

    @property
    def study(self) -> Path:
        """Optuna's record of what was tried, unless ``study`` names another storage."""
        return self.path / "study.db"

    @property
    def budget(self) -> Path:
        """The hours used so far."""
        return self.path / "budget.json"

    @property
    def provenance(self) -> Path:
        """Code, versions and data of each start."""
        return self.path / "provenance.json"

    def trial(self, name: str) -> Path:
        """Return the run folder of a trial."""
        return self.path / "trials" / name

    @property
    def finals(self) -> Path:
        """The run folders of the trainings after the search."""
        return self.path / "finals"

    # --- what came out ---------------------------------------------------------------------------

    @property
    def final(self) -> Path:
        """Who won, and the test figures."""
        return self.path / "final.json"

    @property
    def former_finals(self) -> list[Path]:
        """The same from before each extension, the oldest first."""
        return sorted(self.path.glob("final-*.json"))

    @property
    def encoder(self) -> Path:
        """The winner's encoder."""
        return self.path / "encoder"

    @property
    def results(self) -> Path:
        """The rows of the protocols, and the count of test scorings."""
        return self.path / "results"

    @property
    def report(self) -> Path:
        """Tables and pictures."""
        return self.path / "report"

    @property
    def chosen(self) -> bool:
        """Whether the winner is chosen and its encoder kept."""
        return self.final.exists() and self.encoder.exists()

    def left(self) -> list[str]:
        """Return the names of results in it, which a new sweep must not take for its own."""
        names = ("trials", "finals", "final.json", "encoder")
        return [name for name in names if (self.path / name).exists()]

    def set_aside(self) -> None:
        """Keep a former choice on record, since more trials come.

        As ``final-K.json`` and ``encoder-K``: the plain names are for the choice among all trials.
        """
        number = len(self.former_finals) + 1
        for path in (self.encoder, self.final):
            if path.exists():
                path.rename(path.with_name(f"{path.stem}-{number}{path.suffix}"))

    def deleted(self) -> SweepFolder:
        """Return the folder's name while it is being deleted."""
        return SweepFolder(self.path.with_name(f".deleted-{self.path.name}"))
