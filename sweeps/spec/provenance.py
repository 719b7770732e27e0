"""Provenance of a sweep: code, lock file, versions, machine, data."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import c2vl
from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from c2vl.support.remote import absolute
from c2vl.support.versions import versions
from c2vl.training.run_folder import RunFolder
from sweeps.spec.sweep_folder import SweepFolder

PACKAGES = ("c2vl", "torch", "ray", "optuna", "mlflow", "numpy", "transformers")
LOCK, BUILD = "requirements.lock", "build.json"
INSTALLED = Path(c2vl.__file__).parent / "_installed"
"""What a wheel and the code of a job have of the clone besides the packages (``setup.py``)."""
CODE = ("c2vl", "sweeps")
SINCE = "since"  # seconds of the epoch
SETTINGS = "settings"  # of the start that began the sweep
OTHERS = "other_data"
NO_OTHERS: Mapping[str, str] = {}
KEPT = {"git_commit": str, "lock_sha256": str, "environment": dict, "data": dict}


def environment() -> dict[str, str]:
    """Return Python, platform, CPU count and the versions of the packages that matter."""
    machine = {"platform": platform.platform(), "cpus": str(os.cpu_count())}
    return versions(PACKAGES) | machine


def git_commit() -> str:
    """Return the commit of the code, with ``-dirty`` if it has changes; empty if unknown.

    A wheel, and the code that is sent with a job, bring the commit that they were made from. A
    repository that merely surrounds the installation is another one's.
    """
    if (told := INSTALLED / BUILD).is_file():
        return str(json.loads(told.read_text(encoding="utf-8"))["git_commit"])
    here = Path(__file__).resolve()

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(here.parent), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        if not git("ls-files", "--error-unmatch", here.name):
            return ""
        return (git("rev-parse", "HEAD") or "") + "-dirty" * bool(git("status", "-s", "-uno"))
    except OSError:  # no git here
        return ""


def lock_file() -> Path | None:
    """Return the lock file of this installation; None where there is none."""
    places = (Path(__file__).parents[2] / LOCK, INSTALLED / LOCK)
    return next((place for place in places if place.is_file()), None)


def lock_digest() -> str:
    """Return the SHA-256 of the lock file; empty without one."""
    file = lock_file()
    return hashlib.sha256(file.read_bytes()).hexdigest() if file else ""


@cache
def code_digest() -> str:
    """Return a SHA-256 of the code that runs, which also tells changes that are not committed."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for file in sorted(file for name in CODE for file in (root / name).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def copy_code(out: Path) -> None:
    """Copy this installation's packages into a folder, with the commit and the lock file."""
    root = Path(__file__).parents[2]
    for name in (*CODE, "cluster"):
        shutil.copytree(root / name, out / name, ignore=shutil.ignore_patterns("__pycache__"))
    told = out / INSTALLED.relative_to(root)
    told.mkdir(exist_ok=True)
    (told / BUILD).write_text(json.dumps({"git_commit": git_commit()}), encoding="utf-8")
    if file := lock_file():
        shutil.copy(file, told / LOCK)


def data_manifest(experiment: Experiment) -> dict[str, Any]:
    """Return the manifests of the store and of the concept tables.

    Raises:
        UserError: one of them is absent.
    """
    from c2vl.prompts.table import ConceptTable
    from c2vl.skeletons.store import read_manifest

    found: dict[str, Any] = {"store": read_manifest(experiment.data.store)}
    for modality, path in experiment.concept_tables().items():
        assert path is not None, "checked with the settings"
        try:
            found[modality] = ConceptTable.open(path).manifest
        except UserError as error:
            raise UserError(f"prompts.{modality}: {error}") from None
    return found


def contents(experiments: Iterable[Experiment]) -> dict[str, str]:
    """Return the checksum of each store and concept table that experiments read, by its place.

    Raises:
        UserError: one of them is absent.
    """
    found = {}
    for experiment in experiments:
        places = {"store": experiment.data.store, **experiment.concept_tables()}
        for what, manifest in data_manifest(experiment).items():
            found[str(places[what])] = _content(manifest)
    return found


def record(
    folder: SweepFolder, data: dict[str, Any], settings: str, others: Mapping[str, str] = NO_OTHERS
) -> None:
    """Append the provenance of this start to a sweep's record, unless the last start had the same.

    Args:
        data: manifests of its base's data (:func:`data_manifest`).
        settings: the resolved sweep file; what the sweep begins with is kept.
        others: what its space and its variants read besides (:func:`contents`).
    """
    now: dict[str, Any] = {**code(), "environment": environment(), "data": data}
    now |= {OTHERS: dict(others)} if others else {}
    starts = recorded(folder)
    begun = any(SETTINGS in start for start in starts)
    last = dict(starts[-1]) if starts else {}
    for key in (SINCE, SETTINGS):
        last.pop(key, None)
    if last != json.loads(json.dumps(now)) or not begun:
        now |= {SINCE: time.time()} | ({} if begun else {SETTINGS: settings})
        write_text(folder.provenance, json.dumps([*starts, now], indent=1))


def recorded(folder: SweepFolder) -> list[dict[str, Any]]:
    """Return the record of :func:`record`, the first start first.

    Raises:
        UserError: the file is damaged.
    """
    path = folder.provenance
    if not path.exists():
        return []
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        starts = None
    if not isinstance(starts, list) or not all(map(_whole, starts)):
        raise UserError(
            f"{path}: is damaged, so that what the sweep ran on is unknown; bring it back from a "
            "copy, or remove it: the next start writes its own"
        )
    return starts


def _whole(start: Any) -> bool:
    return isinstance(start, dict) and all(
        isinstance(start.get(name), kind) for name, kind in KEPT.items()
    )


def require_same(
    folder: SweepFolder, data: dict[str, Any], others: Mapping[str, str] = NO_OTHERS
) -> None:
    """Check that the data of a sweep are those of its last start.

    Args:
        data: manifests of its base's data (:func:`data_manifest`).
        others: what its space and its variants read besides; earlier versions recorded none.

    Raises:
        UserError: they have changed, so that figures before and after cannot be ranked together.
    """
    for start in recorded(folder)[-1:]:
        for what, manifest in data.items():
            before, now = (_content(found) for found in (start["data"].get(what, {}), manifest))
            if before != now:
                raise UserError(
                    f"{folder.path.name}: the {'data' if what == 'store' else what + ' prompts'} "
                    f"have changed since it ran ({before[:12] or 'none'}, now {now[:12]}), and "
                    "figures of both cannot be compared; bring them back, or start another sweep: "
                    "name=OTHER"
                )
        known = start.get(OTHERS, {})
        for place in others.keys() & known.keys():
            if known[place] != others[place]:
                raise UserError(
                    f"{folder.path.name}: {place} has changed since it ran ({known[place][:12]}, "
                    f"now {others[place][:12]}), and figures of both cannot be compared; bring it "
                    "back, or start another sweep: name=OTHER"
                )


def _content(manifest: dict[str, Any]) -> str:
    """Return the checksum of a store or a concept table."""
    return str(manifest.get("checksum") or manifest.get("digest") or "")


def commit_of(folder: SweepFolder, run: Path) -> str:
    """Return the commit that a training began with; empty if unknown."""
    settings = RunFolder(run).settings  # written as it begins
    began = settings.stat().st_mtime if settings.exists() else math.inf
    starts = recorded(folder)
    before = [start for start in starts if start.get(SINCE, 0.0) <= began] or starts[:1]
    return str(before[-1]["git_commit"]).removesuffix("-dirty") if before else ""


def code() -> dict[str, str]:
    """Return commit, lock file and digest of the code, as tags of a run."""
    return {
        "git_commit": git_commit(),
        "lock_sha256": lock_digest(),
        "code_sha256": code_digest(),
    }


def datasets(experiment: Experiment) -> list[dict[str, str]]:
    """Return the datasets of a run for MLflow: name, digest, path, and context of each.

    Raises:
        UserError: one of them is absent.
    """
    data, manifests = experiment.data, data_manifest(experiment)
    store = manifests.pop("store")
    found = [
        {
            "name": f"{store['dataset']} {data.split}",
            "digest": str(store["checksum"]),
            "path": str(absolute(data.store)),
            "context": "training",
        }
    ]
    tables = experiment.concept_tables()
    for modality, manifest in manifests.items():
        found.append(
            {
                "name": f"{modality} prompts",
                "digest": str(manifest["digest"]),
                "path": str(absolute(tables[modality] or "")),
                "context": "prompts",
            }
        )
    return found


def as_json(values: dict[str, Any]) -> str:
    """Return JSON for MLflow's pages."""
    return json.dumps(values, indent=1, default=str)
