"""Checks of a sweep that need more than its file: data, stores, disk, resources, nodes.

They start no training. In an MLflow experiment that exists they make a run and delete it, and they
mark the registered model or make one (nothing else shows that a server takes writes); on a cluster
they write files into the storage folder for each node to read. They take all of it back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from c2vl.support.cpus import usable_cpus
from c2vl.support.errors import UserError
from c2vl.support.remote import RemoteFolder, absolute
from c2vl.training.beforehand import require_data
from sweeps.planning.cluster_resources import Node, cluster, living_nodes, ray_address, slots
from sweeps.planning.nodes import require_fit_nodes
from sweeps.search.storage import open_storage
from sweeps.search.warm_start import check_warm_start
from sweeps.spec.checks import check_draws, data_needs
from sweeps.spec.lock import refresh
from sweeps.spec.store_addresses import shown, sqlite_file
from sweeps.spec.sweep import SweepSettings

DRAWS = 1000


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        part: of the sweep that was checked.
        says: the finding in words; empty without one.
        problems: what is wrong, each with its remedy.
    """

    part: str
    says: str = ""
    problems: list[str] = field(default_factory=list)


def look(part: str, check: Callable[[], str]) -> Finding:
    """Run a check; an error of the user becomes its problem."""
    try:
        return Finding(part, check())
    except UserError as error:
        return Finding(part, "", [str(error)])


def ready(spec: SweepSettings) -> list[Finding]:
    """Run the checks that need no cluster: name, space, data, MLflow, Optuna's storage."""
    refresh(spec.folder)
    return [
        look("name", lambda: free_name(spec)),
        look("space", lambda: space(spec)),
        look("warm_start", lambda: warm_start(spec)),
        data(spec),
        look("tracking", lambda: tracking(spec)),
        look("study", lambda: study(spec)),
    ]


def free_name(spec: SweepSettings) -> str:
    """Check that no other sweep has the name."""
    if spec.folder.begun:
        raise UserError(
            f"name: there is a sweep {spec.name} in {spec.folder}; go on with it: "
            f"c2vl-sweep resume {spec.words}, or start another: name=OTHER"
        )
    return f"{spec.name}, in {spec.folder}"


def space(spec: SweepSettings) -> str:
    """Build the experiments of many draws from the space."""
    check_draws(spec, DRAWS)
    return f"{DRAWS} draws make valid experiments"


def warm_start(spec: SweepSettings) -> str:
    """Check that the earlier sweep is there and fits."""
    if spec.warm_start is None or spec.folder.begun:
        return ""
    check_warm_start(spec)
    return f"the {spec.warm_start.how} of {spec.warm_start.sweep}"


def data(spec: SweepSettings) -> Finding:
    """Open every store and concept table that a trial may read, and cut the splits."""
    says, problems = [], []
    for experiment in data_needs(spec):
        try:
            says.append(require_data(experiment))
        except UserError as error:
            problems.append(str(error))
    return Finding("data", "; ".join(dict.fromkeys(says)), list(dict.fromkeys(problems)))


def tracking(spec: SweepSettings) -> str:
    """Check that MLflow answers and takes runs, artefacts and the registered model."""
    from sweeps.tracking.access import probe

    uri = spec.tracking_uri
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        _writable(file, "tracking.uri")
        return f"MLflow's {file} will be made"
    takes = probe(spec)
    return f"MLflow at {shown(uri)} answers" + (", and takes runs and models" if takes else "")


def study(spec: SweepSettings) -> str:
    """Check that Optuna's storage answers, and that the name is free there."""
    if spec.folder.begun:
        return ""  # it is that sweep's; its name is taken
    file = sqlite_file(spec.study_uri)
    if file is not None and not file.exists():
        _writable(file, "study")
        return f"Optuna's {file} will be made"
    storage = open_storage(spec.study_uri, 0.0)
    if spec.name in optuna.get_all_study_names(storage):
        raise UserError(
            f"study: the storage holds a study called {spec.name} already; choose another name"
        )
    return "Optuna's storage answers"


def _writable(path: Path, what: str) -> Path:
    """Return the nearest folder above ``path`` that exists; it must be writable."""
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{what}: {folder} cannot be written; choose another place")
    return folder


def room(spec: SweepSettings, needed: float) -> str:
    """Compare the bytes that trials will write with the free disk.

    Args:
        needed: bytes.
    """
    if isinstance(spec.storage, str):
        RemoteFolder(spec.storage).require_writable()
        return f"up to {_size(needed)}, at {spec.storage}"
    free = shutil.disk_usage(_writable(spec.folder.path, "storage")).free
    if needed > free:
        raise UserError(
            f"storage: trials write up to {_size(needed)}, and {spec.storage.absolute()} has "
            f"{_size(free)} free; make room, name another storage, or lower trials, model.hidden "
            "or train.keep_checkpoints"
        )
    return f"up to {_size(needed)} of {_size(free)} free"


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def resources(spec: SweepSettings, address: str | None) -> tuple[int | None, list[Finding]]:
    """Return how many trials fit at once, and the findings on nodes and their shared folder.

    Args:
        address: of a Ray cluster; where a sweep would start its own, this machine is asked.
    """
    try:
        address = ray_address(address)
        if address == "local":
            nodes = [_this_machine()]
            return _fitting(spec, nodes), [look("resources", lambda: _fits(spec, nodes, "here"))]
        with cluster(address):
            nodes = living_nodes()
            where = f"{len(nodes)} nodes"
            found = [
                look("resources", lambda: _fits(spec, nodes, where)),
                look("nodes", lambda: _shared(spec, where)),
            ]
            return _fitting(spec, nodes), found
    except UserError as error:
        return None, [Finding("resources", "", [str(error)])]


def _fitting(spec: SweepSettings, nodes: list[Node]) -> int | None:
    if spec.autoscaling:
        return spec.concurrency
    try:
        return slots(nodes, spec.base.train)
    except UserError:  # found by `_fits`
        return None


def _shared(spec: SweepSettings, where: str) -> str:
    require_fit_nodes(spec.storage, data_needs(spec))
    return f"{where} reach {absolute(spec.storage)} and the data"


def _fits(spec: SweepSettings, nodes: list[Node], where: str) -> str:
    train = spec.base.train
    at_once = spec.concurrency if spec.autoscaling else slots(nodes, train)
    have = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    return (
        f"{at_once} at once: {train.workers} × {train.cpus_per_worker:g} CPU, "
        f"{train.gpus_per_worker:g} GPU each; {where}: {have['CPU']:g} CPU, {have['GPU']:g} GPU"
    )


def _this_machine() -> Node:
    import torch

    return {"CPU": float(usable_cpus()), "GPU": float(torch.cuda.device_count())}
