"""Provenance of a sweep: code, lock file, versions, machine, data."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from c2vl.support.versions import versions
from c2vl.training.run_folder import RunFolder
from sweeps.spec.sweep_folder import SweepFolder

PACKAGES = ("c2vl", "torch", "ray", "optuna", "mlflow", "numpy", "transformers")
LOCK = Path("requirements.lock")
SINCE = "since"  # seconds of the epoch
KEPT = {"git_commit": str, "lock_sha256": str, "environment": dict, "data": dict}


def environment() -> dict[str, str]:
    """Return Python, platform, CPU count and the versions of the packages that matter."""
    machine = {"platform": platform.platform(), "cpus": str(os.cpu_count())}
    return versions(PACKAGES) | machine


def git_commit() -> str:
    """Return the commit of the code, with ``-dirty`` if it has changes; empty outside git."""
    where = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", where, *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return f"{commit}-dirty" if commit and git("status", "--porcelain", "-uno") else commit
    except OSError:  # no git here
        return ""


def lock_digest() -> str:
    """Return the SHA-256 of the lock file in the working directory; empty without one."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.is_file() else ""


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


def record(folder: SweepFolder, data: dict[str, Any]) -> None:
    """Append the provenance of this start to a sweep's record, unless the last start had the same.

    Args:
        data: manifests of its data (:func:`data_manifest`).
    """
    now = {**code(), "environment": environment(), "data": data}
    starts = recorded(folder)
    last = {key: value for key, value in starts[-1].items() if key != SINCE} if starts else None
    if last != json.loads(json.dumps(now)):
        write_text(folder.provenance, json.dumps([*starts, {**now, SINCE: time.time()}], indent=1))


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


def require_same(folder: SweepFolder, data: dict[str, Any]) -> None:
    """Check that the data of a sweep are those of its last start.

    Args:
        data: manifests of its data (:func:`data_manifest`).

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
    """Return commit and lock file of the code, as tags of a run."""
    return {"git_commit": git_commit(), "lock_sha256": lock_digest()}


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
            "path": str(data.store.absolute()),
            "context": "training",
        }
    ]
    tables = experiment.concept_tables()
    for modality, manifest in manifests.items():
        found.append(
            {
                "name": f"{modality} prompts",
                "digest": str(manifest["digest"]),
                "path": str(Path(str(tables[modality])).absolute()),
                "context": "prompts",
            }
        )
    return found


def as_json(values: dict[str, Any]) -> str:
    """Return JSON for MLflow's pages."""
    return json.dumps(values, indent=1, default=str)
