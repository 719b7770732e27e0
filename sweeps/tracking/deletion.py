"""Deletes a sweep: its MLflow runs, its study, then its folder. A rerun completes a deletion.

The folder leads to everything else, so it is deleted last. It is renamed first, so that a
half-deleted folder never bears the sweep's name; at a URL, which has no renaming, a mark that it is
being deleted lies beside it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import optuna

from c2vl.support.errors import UserError
from c2vl.support.remote import Location, RemoteFolder, below
from sweeps.search.database import READING_PATIENCE
from sweeps.search.storage import open_storage
from sweeps.search.trial_source import OWNER
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.tracking.mlflow_store import answering, open_client
from sweeps.tracking.pages import delete_view
from sweeps.tracking.reconciliation import runs_of

LATER = "the sweep is still there, delete it again later"


@dataclass(frozen=True)
class Doomed:
    """What a deletion will remove.

    Attributes:
        runs: ids of MLflow runs that are not deleted yet, the parent last.
        size: bytes of the folder.
    """

    runs: list[str]
    size: int


def look(spec: SweepSettings) -> Doomed:
    """Return what a deletion would remove; change nothing.

    Raises:
        UserError: MLflow does not answer.
    """
    with answering(spec.tracking_uri, then=LATER):
        runs = runs_of(open_client(spec.tracking_uri), spec)
    runs = sorted(runs, key=lambda run: run.data.tags.get("kind") == "sweep")
    return Doomed([run.info.run_id for run in runs], _size(spec.folder))


def _size(folder: SweepFolder) -> int:
    if folder.mirror is not None:
        return sum(folder.mirror.remote.files().values())
    files = (path for path in folder.path.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def delete(spec: SweepSettings, doomed: Doomed) -> None:
    """Delete a sweep; call it again after an interruption. The caller holds the sweep's lock.

    Raises:
        UserError: MLflow or Optuna's storage does not answer, or holds another sweep's study; what
            is left is whole and can be deleted later.
    """
    with answering(spec.tracking_uri, then=LATER):
        client = open_client(spec.tracking_uri)
        for run_id in doomed.runs:
            client.delete_run(run_id)
        delete_view(client, spec.tracking.experiment, spec.folder.identity())
    if spec.study is not None:  # the default one lies in the folder
        storage = open_storage(spec.study_uri, READING_PATIENCE)
        if spec.name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=spec.name, storage=storage)
            if study.user_attrs.get(OWNER, spec.folder.identity()) != spec.folder.identity():
                raise UserError(
                    f"study: {spec.name} in the storage is another sweep's and stays; set study in "
                    f"{spec.folder.settings} right"
                )
            optuna.delete_study(study_name=spec.name, storage=storage)
    if isinstance(spec.storage, str):
        _sweeps(spec.storage).write(_mark(spec.name), b"")
    else:
        aside = spec.folder.deleted()
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(spec.folder, aside)
    finish(spec.storage, spec.name)


def finish(storage: Location, name: str) -> bool:
    """Complete an interrupted deletion; return whether there was one."""
    if isinstance(storage, str):
        if _sweeps(storage).changed(_mark(name)) is None:
            return False
        SweepFolder.of(storage, name).remove()
        _sweeps(storage).delete(_mark(name))
        return True
    aside = SweepFolder.of(storage, name).deleted().path
    if not aside.exists():
        return False
    shutil.rmtree(aside)
    return True


def _sweeps(storage: str) -> RemoteFolder:
    return RemoteFolder(below(storage, "sweeps"))


def _mark(name: str) -> str:
    return f".deleted-{name}"
