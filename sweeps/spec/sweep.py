"""A sweep as typed, frozen settings: YAML in, resolved YAML out, all mistakes found beforehand.

Example:
    >>> spec = parse_sweep({"name": "lr", "space": {"optim.lr": {
    ...     "type": "float", "low": 0.01, "high": 1, "log": True}}}, "lr.yaml")
    >>> spec.trials
    20
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, Field, PositiveInt

from c2vl.config.experiment import Experiment, Settings
from c2vl.config.reading import (
    from_dict,
    override,
    parse,
    parse_overrides,
    read_yaml,
    setting_names,
)
from c2vl.support.errors import UserError, did_you_mean
from c2vl.training import figures
from sweeps.spec.constraints import Constraint, parse_constraint
from sweeps.spec.space import Variable

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


T = TypeVar("T")


def _once(values: list[T]) -> list[T]:
    """Refuse what is named twice: it would be trained twice, and counted as two."""
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} is named twice; leave one out")
    return values


Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Objective(Settings):
    """What a trial is judged by: a figure that training reports, of validation or label-free."""

    metric: str = Field("knn_val", description="a figure of the run; the test part has none here")
    direction: Literal["maximize", "minimize"] = "maximize"
    last: int = Field(1, ge=1, description="mean of so many last values: one epoch alone is noisy")


class SamplerSettings(Settings):
    """Who proposes the next trial."""

    name: Literal["tpe", "gp", "cmaes", "nsgaii", "sobol", "halton", "random", "grid"] = "tpe"
    seed: int = Field(0, ge=0, lt=2**31)
    startup_trials: int = Field(10, ge=1, description="random trials before TPE, GP, CMA-ES lead")
    population: int = Field(20, ge=2, description="NSGA-II: trials of a generation")


class PrunerSettings(Settings):
    """Who stops trials that promise little; judged by the objective as it is reported."""

    name: Literal["asha", "hyperband", "median", "none"] = "asha"
    min_epochs: int = Field(1, ge=1, description="no trial is stopped before this epoch")
    reduction: int = Field(
        3, ge=2, description="ASHA, Hyperband: one in so many goes on at each rung"
    )
    startup_trials: int = Field(
        4, ge=0, description="median, min_rank_correlation: trials that are let through first"
    )
    min_rank_correlation: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="nobody is stopped at an epoch until trials that ran to their end were ranked "
        "there as at their end, by Spearman's correlation of at least so much",
    )


class WarmStart(Settings):
    """What an earlier sweep has found, to begin with."""

    sweep: str = Field(min_length=1, description="its name in the same storage, or its folder")
    top: int = Field(5, ge=1, description="so many of its best trials")
    how: Literal["points", "trials"] = Field(
        "points",
        description="points: tried first, measured anew; trials: taken as known, which needs the "
        "same base, data and objectives",
    )


class TrackingSettings(Settings):
    """Where MLflow keeps the runs."""

    uri: str | None = Field(None, description="server or database; default: STORAGE/mlflow.db")
    experiment: str = Field("c2vl", min_length=1, description="MLflow experiment of the sweeps")
    model: str | None = Field(
        None,
        pattern=r"^\w[\w .()+-]*$",  # no more than a filter of MLflow's can quote
        description="registered model's name; default: the sweep's",
    )
    patience: float = Field(
        600.0, ge=0, description="seconds that an absent server is waited for, at the end of it all"
    )


class KeepSettings(Settings):
    """What stays of trials that have ended; the winner's encoder does in any case."""

    encoders: Literal["all"] | PositiveInt = Field(
        "all", description="encoders, on disk and in MLflow: of all finished trials, or so many"
    )
    checkpoints: int = Field(
        1, ge=0, description="full checkpoints, of the best so many trials; on disk alone"
    )


Reference = Literal["base", "hard", "supervised", "captions", "joints"]


Protocol = Literal[
    "linear",
    "knn",
    "clustering",
    "few-shot",
    "zero-shot",
    "robustness",
    "semi-supervised",
    "fine-tune",
]


class FinalSettings(Settings):
    """What happens after the last trial."""

    test: bool = Field(True, description="score the chosen encoder once on the test part")
    protocols: Annotated[list[Protocol], AfterValidator(_once)] = Field(
        ["linear", "knn", "clustering", "few-shot"],
        description="what the encoders are scored by; the last four take longer, and zero-shot "
        "needs a language table",
    )
    candidates: int = Field(
        1, ge=1, description="best trials to train anew; their mean over the seeds decides"
    )
    seeds: Annotated[list[Seed], AfterValidator(_once)] = Field(
        default_factory=list,
        description="train the candidates anew with these; empty: the best trial as it is",
    )
    rounds: bool = Field(
        False, description="a seed at a time; after each the better half of the candidates stays"
    )
    beside: Annotated[list[Reference], AfterValidator(_once)] = Field(
        default_factory=list,
        description="what stands beside winner and random encoder in the test table: base "
        "experiment; winner with hard targets or with labels (supervised), same budget and seeds; "
        "captions alone; neighbours of raw joints",
    )


class SweepSettings(Settings):
    """Everything that a sweep depends on."""

    name: str = Field(pattern=NAME)
    description: str = ""
    base: dict[str, Any] = Field(default_factory=dict, description="experiment, or its file's path")
    space: dict[str, Variable] = Field(min_length=1)
    sampler: SamplerSettings = SamplerSettings()
    points: list[dict[str, Any]] = Field(
        default_factory=list, description="values tried first; what they leave out is drawn"
    )
    warm_start: WarmStart | None = None
    constraints: list[str] = Field(
        default_factory=list,
        description="comparisons of settings and figures: seconds <= 600",
    )
    pruner: PrunerSettings = PrunerSettings()
    objectives: list[Objective] = Field(default_factory=lambda: [Objective()], min_length=1)
    trials: int = Field(20, ge=1, le=100000)
    concurrency: int | None = Field(None, ge=1, description="trials at once; default: what fits")
    autoscaling: bool = Field(
        False, description="the cluster grows on demand: `concurrency` trials ask it for nodes"
    )
    max_hours: float | None = Field(
        None, gt=0, description="no trial starts after the sweep has run so long, over all resumes"
    )
    max_cpu_hours: float | None = Field(
        None, gt=0, description="no trial starts after trials held CPUs for so long"
    )
    max_gpu_hours: float | None = Field(
        None, gt=0, description="no trial starts after trials held GPUs for so long"
    )
    max_failures: int = Field(
        2, ge=0, description="lost processes that a trial survives; lost nodes are not counted"
    )
    max_failed_trials: int = Field(3, ge=0, description="more than this many end the sweep")
    storage: Path = Field(Path("runs"), description="holds sweeps/NAME/, mlflow.db, mlartifacts/")
    study: str | None = Field(None, description="Optuna storage URL; default: study.db")
    study_patience: float = Field(
        600.0, ge=0, description="seconds that a study which is locked or away is waited for"
    )
    tracking: TrackingSettings = TrackingSettings()
    keep: KeepSettings = KeepSettings()
    final: FinalSettings = FinalSettings()

    @property
    def folder(self) -> Path:
        """Where the sweep lives, absolute."""
        return sweep_folder(self.storage, self.name)

    @cached_property
    def rules(self) -> list[Constraint]:
        """The constraints, read."""
        return [parse_constraint(text, figures.names()) for text in self.constraints]

    @property
    def experiment(self) -> Experiment:
        """The base experiment."""
        return from_dict(self.base)

    @property
    def tracking_uri(self) -> str:
        """MLflow's store; a default is an absolute path only now, where it runs."""
        return self.tracking.uri or f"sqlite:///{self.storage.absolute() / 'mlflow.db'}"

    @property
    def study_uri(self) -> str:
        """Optuna's store."""
        return self.study or f"sqlite:///{self.folder / 'study.db'}"

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return self.tracking.model or self.name


def sweep_folder(storage: Path, name: str) -> Path:
    """Return the folder of a sweep, absolute."""
    return storage.absolute() / "sweeps" / name


def load_sweep(path: Path, overrides: Iterable[str] = ()) -> SweepSettings:
    """Read a sweep file, with ``key=value`` overrides, and check all of it.

    Overrides name keys of the sweep file (``trials=4``, ``base.train.epochs=3``); a setting of the
    experiment alone (``train.epochs=3``) means the base.

    Raises:
        UserError: everything that is wrong with it, with the fields' paths.
    """
    values = dict(read_yaml(path))
    base = values.get("base", {})
    if isinstance(base, str):
        values["base"] = base = read_yaml(path.parent / base)
    for key, value in parse_overrides(overrides).items():
        values = _override(values, key, value)
    return parse_sweep(values, path.name)


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
    return override(values, {f"{head}.{rest}" if rest else head: value})


def parse_sweep(values: Mapping[str, Any], what: str) -> SweepSettings:
    """Validate a sweep, fill in every default, and check that its space makes sense.

    Args:
        values: nested mappings, as YAML gives them.
        what: what to call the file in messages.

    Raises:
        UserError: everything that is wrong with it.
    """
    from sweeps.planning.validation import check  # it needs the classes above

    spec = parse(SweepSettings, values, what)
    _check_storage(spec, what)
    base = parse(Experiment, {"name": spec.name, **spec.base}, f"{what}: base")
    spec = spec.model_copy(update={"base": base.model_dump(mode="json")})
    try:
        return check(spec)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _check_storage(spec: SweepSettings, what: str) -> None:
    """Refuse a folder whose path means something else in the address of a database in it."""
    path = str(spec.storage.absolute())
    if odd := [sign for sign in "%?#" if sign in path]:
        raise UserError(
            f"{what}: storage: {path} has a {odd[0]} in it, which the addresses of the databases "
            "there cannot have; choose another folder"
        )


def dump_sweep(spec: SweepSettings) -> str:
    """Return the resolved sweep as YAML; :func:`read_sweep` reads it back equal."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)


def read_sweep(storage: Path, name: str) -> SweepSettings:
    """Read the resolved settings of a sweep that has been started.

    Raises:
        UserError: there is no such sweep; the message names those that are there. Or the folder
            was copied or renamed, while its study and its runs are still another name's.
    """
    path = sweep_folder(storage, name) / "sweep.yaml"
    if not re.match(NAME, name) or not path.exists():
        there = ", ".join(sweep_names(storage)) or "none yet"
        raise UserError(f"{name}: no such sweep in {storage / 'sweeps'}; there: {there}")
    spec = parse(SweepSettings, read_yaml(path), str(path))
    if spec.name != name:
        raise UserError(
            f"{path}: is of the sweep {spec.name}, whose study and runs bear that name; move the "
            f"folder back to {path.parent.with_name(spec.name)}, or remove this copy"
        )
    # A sweep may have been moved with its folder: where it is now counts, not where it was.
    return spec.model_copy(update={"storage": storage})


def sweep_names(storage: Path) -> list[str]:
    """Return the names of the sweeps in a storage folder, sorted."""
    found = (path.parent.name for path in (storage / "sweeps").glob("*/sweep.yaml"))
    return sorted(name for name in found if not name.startswith("."))  # one that is being deleted
