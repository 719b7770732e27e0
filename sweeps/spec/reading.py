"""Sweep files: YAML in, resolved YAML out, all mistakes found beforehand.

Example:
    >>> spec = parse_sweep({"name": "lr", "space": {"optim.lr": {
    ...     "type": "float", "low": 0.01, "high": 1, "log": True}}}, "lr.yaml")
    >>> spec.trials
    20
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from c2vl.config.experiment import Experiment
from c2vl.config.reading import (
    PRESET,
    named_file,
    override,
    parse,
    parse_overrides,
    read_experiment,
    read_yaml,
    setting_names,
    with_imports,
)
from c2vl.config.reading import PRESETS as EXPERIMENTS
from c2vl.support.errors import UserError, did_you_mean
from c2vl.support.remote import Location, below
from sweeps.spec.checks import check
from sweeps.spec.lock import refresh
from sweeps.spec.store_addresses import require_mlflow, shown
from sweeps.spec.sweep import NAME, SweepSettings
from sweeps.spec.sweep_folder import SweepFolder

PRESETS = Path(__file__).parents[1] / "presets"
_SHORT = ("sampler", "pruner")  # `sampler: random` is short for `sampler: {name: random}`


def load_sweep(path: Path, overrides: Iterable[str] = (), *, begun: bool = False) -> SweepSettings:
    """Read and check a sweep file, with ``key=value`` overrides.

    The path may be ``preset:NAME``. Overrides name keys of the sweep file (``trials=4``,
    ``base.train.epochs=3``); a setting of the experiment alone (``train.epochs=3``) means the base,
    and ``base=FILE`` (or ``preset:NAME``) puts another experiment in its place. Where
    ``final.beside`` is given, variants of the file that it does not name are left out. Where no
    ``tracking.uri`` is given, ``MLFLOW_TRACKING_URI`` counts, as for what reads runs. A sweep that
    may have ``begun`` is judged by what may still change (:func:`sweeps.spec.checks.check`).

    Raises:
        UserError: the problems, with the fields' paths.
    """
    changes = parse_overrides(overrides)
    values, home = read_file(path)
    if isinstance(changes.get("base"), str):  # another experiment, from where the command is given
        file = named_file(Path(changes.pop("base")), EXPERIMENTS)
        values, home = {**values, "base": read_experiment(file)}, file.parent
    if isinstance(values["base"], dict):
        values["base"] = with_imports(values["base"], home)
    if "final.beside" in changes:
        values = _named_variants(values, changes["final.beside"])
    for key, value in changes.items():
        values = _override(values, key, value)
    return parse_sweep(_with_tracking(values), path.name, changes, begun=begun)


def _named_variants(values: dict[str, Any], beside: Any) -> dict[str, Any]:
    """Drop variants of a file that another ``final.beside`` leaves out."""
    final = values.get("final")
    if not isinstance(final, Mapping) or not isinstance(beside, list):
        return values
    variants = final.get("variants")
    if not isinstance(variants, Mapping):
        return values
    named = {name: changes for name, changes in variants.items() if name in beside}
    return {**values, "final": {**final, "variants": named}}


def _with_tracking(values: dict[str, Any]) -> dict[str, Any]:
    """Where a file names no place for its runs, MLflow's own variable does, and is kept with it."""
    tracking, place = values.get("tracking") or {}, os.environ.get("MLFLOW_TRACKING_URI")
    if not place or not isinstance(tracking, Mapping) or tracking.get("uri"):
        return values
    require_mlflow(place, "MLFLOW_TRACKING_URI")
    return {**values, "tracking": {**tracking, "uri": place}}


def read_file(path: Path) -> tuple[dict[str, Any], Path]:
    """Return what a sweep file says, unchecked, with its base experiment in it.

    Args:
        path: of the file, or ``preset:NAME``; the file's ``base`` may be either likewise.

    Returns:
        The values, and the folder where relative paths under ``imports`` of the base start.

    Raises:
        UserError: a file is missing, or is no mapping in YAML.
    """
    path = named_file(path, PRESETS)
    values = dict(read_yaml(path))
    of_experiments = Experiment.model_fields.keys() - SweepSettings.model_fields.keys()
    if not {"base", "space"} & values.keys() and (found := sorted(of_experiments & values.keys())):
        raise UserError(
            f"{path}: is an experiment file (it has {', '.join(found)}), and a sweep is needed "
            f"here; `c2vl train {path}` trains it once, and a sweep file names it by `base:`"
        )
    values |= {key: {"name": values[key]} for key in _SHORT if isinstance(values.get(key), str)}
    base = values.get("base", {})
    if not isinstance(base, str):
        return {**values, "base": base}, path.parent
    file = path.parent / base
    if base.startswith(PRESET):
        file = named_file(Path(base), EXPERIMENTS)
    return {**values, "base": read_experiment(file)}, file.parent


def _override(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    if head not in SweepSettings.model_fields:
        if head not in Experiment.model_fields:
            known = [*SweepSettings.model_fields, *setting_names()]
            raise UserError(f"{key}: no such setting{did_you_mean(key, known)}")
        head, rest = "base", key
    if head == "space" and rest:  # names of variables have dots of their own
        space = dict(values.get("space") or {})
        if value is None:
            space.pop(rest, None)
        else:
            space[rest] = value
        return {**values, "space": space}
    if head in _SHORT and not rest and isinstance(value, str):
        rest = "name"
    if head == "base" and rest:
        return {**values, "base": override(values.get("base") or {}, {rest: value})}
    return override(values, {f"{head}.{rest}" if rest else head: value})


def parse_sweep(
    values: Mapping[str, Any], what: str, said: Collection[str] = (), *, begun: bool = False
) -> SweepSettings:
    """Validate a sweep, fill in every default, and check its settings against each other.

    Args:
        values: nested mappings, as YAML gives them.
        what: the file's name in messages.
        said: names of what the command line gave, for messages.
        begun: the sweep may have begun, with an earlier version.

    Raises:
        UserError: the problems, with the fields' paths.
    """
    spec = parse(SweepSettings, values, what, said)
    _check_storage(spec, what)
    if "name" not in values.get("base", {}):
        base = spec.base.model_copy(update={"name": spec.name})
        spec = spec.model_copy(update={"base": base})
    try:
        return check(spec, begun=begun)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _check_storage(spec: SweepSettings, what: str) -> None:
    """Refuse a folder that does not stay, or that the address of a database cannot name.

    And a URL for what needs a file system.
    """
    if spec.tracking.uri is not None:
        require_mlflow(spec.tracking.uri, f"{what}: tracking.uri")
    if isinstance(spec.storage, str):
        if spec.study is None:
            raise UserError(
                f"{what}: study: SQLite cannot lie at {spec.storage}; name a database that the "
                "driver reaches: study=postgresql+psycopg://HOST/DATABASE, or a file on a disk "
                "that outlives it: study=sqlite:////ABSOLUTE/PATH.db"
            )
        if spec.tracking.uri is None:
            raise UserError(
                f"{what}: tracking.uri: MLflow's store cannot lie at {spec.storage}; name a "
                "server or a database: tracking.uri=https://HOST"
            )
        for key, uri in (("study", spec.study), ("tracking.uri", spec.tracking.uri)):
            if shown(uri) != uri:
                raise UserError(
                    f"{what}: {key}: has a password, which would lie at {spec.storage} for all who "
                    "read there; give the address without it, and the password to the driver: "
                    "PGPASSWORD, MLFLOW_TRACKING_PASSWORD"
                )
        return
    path = str(spec.storage.absolute())
    if "/runtime_resources/" in os.path.realpath(path) + "/":
        raise UserError(
            f"{what}: storage: {path} lies in Ray's cache of what was sent with the job, which "
            "each node has for itself and Ray removes; name a folder that all nodes reach: "
            "storage=/shared/runs"
        )
    if odd := [sign for sign in "%?#" if sign in path]:
        raise UserError(
            f"{what}: storage: {path} has a {odd[0]} in it, which the addresses of the databases "
            "there cannot have; choose another folder"
        )


def dump_sweep(spec: SweepSettings) -> str:
    """Return the resolved sweep as YAML; :func:`read_sweep` reads it back equal."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)


def public_dump(spec: SweepSettings) -> str:
    """Return the resolved sweep as YAML for others to read: its addresses have no passwords."""
    study = None if spec.study is None else shown(spec.study)
    uri = None if spec.tracking.uri is None else shown(spec.tracking.uri)
    tracking = spec.tracking.model_copy(update={"uri": uri})
    return dump_sweep(spec.model_copy(update={"study": study, "tracking": tracking}))


def read_sweep(storage: Location, name: str) -> SweepSettings:
    """Read the resolved settings of a sweep that has begun.

    This machine's copy of one at a URL is then current, without its run folders.

    Raises:
        UserError: there is no such sweep; the message names the sweeps in ``storage``. Or the
            folder was copied or renamed, while its study and its runs keep the old name.
    """
    folder = SweepFolder.of(storage, name)
    if re.match(NAME, name):
        refresh(folder)
    path = folder.settings
    if not re.match(NAME, name) or not path.exists():
        there = ", ".join(SweepFolder.names(storage)) or "none yet"
        of_file = "; a sweep's name is asked for, not its file" if Path(name).is_file() else ""
        place = below(storage, "sweeps")
        raise UserError(f"{name}: no such sweep in {place}; there: {there}{of_file}")
    spec = parse(SweepSettings, read_yaml(path), str(path))
    if spec.name != name:
        raise UserError(
            f"{path}: is of the sweep {spec.name}, whose study and runs bear that name; move the "
            f"folder back to {path.parent.with_name(spec.name)}, or remove this copy"
        )
    # The storage folder may have been moved: its present place counts.
    return spec.model_copy(update={"storage": storage})
