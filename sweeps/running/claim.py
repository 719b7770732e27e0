"""Claims a sweep's folder for a start: refuses another sweep's, releases it if the start fails.

A folder is taken while its lock is held (:mod:`sweeps.spec.lock`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.spec.fixed import require_unedited
from sweeps.spec.reading import dump_sweep, public_dump, read_sweep
from sweeps.spec.sweep import SweepSettings

PLACE_IN_MLFLOW = ("uri", "experiment", "model")  # a resume may change it, and it then stays so


@dataclass
class Claim:
    """A sweep's folder while the sweep is being started: removed again unless it is kept.

    Attributes:
        spec: the sweep.
        identity: distinguishes this sweep from an earlier one of the same name, in the study and
            in MLflow.
        kept: whether the folder stays.
    """

    spec: SweepSettings
    identity: str
    kept: bool

    def keep(self) -> None:
        """Record that the sweep has started: it can be resumed, to the trials asked for now.

        A file with a password in it is for its owner's eyes alone.
        """
        spec, path = self.spec, self.spec.folder.settings
        known, now = None, spec
        if path.exists():
            known = read_sweep(spec.storage, spec.name)
            place = {name: getattr(spec.tracking, name) for name in PLACE_IN_MLFLOW}
            tracking = known.tracking.model_copy(update=place)
            changed = {"trials": max(known.trials, spec.trials), "tracking": tracking}
            now = known.model_copy(update=changed)
        mode = 0o644 if dump_sweep(now) == public_dump(now) else 0o600
        if now != known:
            write_text(path, dump_sweep(now), mode)
        elif mode == 0o600:  # an earlier version wrote it for all to read
            path.chmod(mode)
        spec.folder.send()
        self.kept = True


@contextmanager
def claimed(spec: SweepSettings, *, resume: bool) -> Iterator[Claim]:
    """Take the folder of a new sweep, or with ``resume`` of one that has started.

    Raises:
        UserError: the folder is another sweep's, or not there, or has lost files; or its
            ``sweep.yaml`` was edited.
    """
    started = spec.folder.begun
    if started and not resume:
        raise UserError(
            f"{spec.name}: there is a sweep of this name in {spec.folder}; go on with it: "
            f"c2vl-sweep resume {spec.words} (or run --or-resume), or start another: name=OTHER"
        )
    if resume and not started:
        raise UserError(f"{spec.name}: there is no such sweep any more in {spec.folder}")
    if started:
        require_unedited(spec)
    if not started and (left := spec.folder.left()):
        raise UserError(
            f"{spec.folder}: holds {', '.join(left)} of a sweep, and no sweep.yaml; bring that "
            "back (the sweep's run in MLflow has it, without passwords), or start another: "
            "name=OTHER"
        )
    if not started:
        spec.folder.make_identity()
        spec.folder.send()
    claim = Claim(spec, spec.folder.identity(), kept=started)
    try:
        yield claim
    finally:
        if not claim.kept:
            spec.folder.remove()
