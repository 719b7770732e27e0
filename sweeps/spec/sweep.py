"""A sweep as typed, frozen settings.

How they come out of a sweep file and go back into it: :mod:`sweeps.spec.reading`; what they must
satisfy together: :mod:`sweeps.spec.checks`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, PositiveInt

from c2vl.config.experiment import DataLocation, Experiment, Settings
from c2vl.config.reading import flatten, setting_names
from c2vl.registry import find
from c2vl.training import figures
from sweeps.spec.constraints import Constraint, parse_constraint
from sweeps.spec.objective import Objective
from sweeps.spec.space import Categorical, Float, Int, Variable, Variant
from sweeps.spec.sweep_folder import SweepFolder

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


T = TypeVar("T")


def _once(values: list[T]) -> list[T]:
    """Refuse a repeated value: it would be trained twice and counted as two."""
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} is named twice; leave one out")
    return values


Seed = Annotated[int, Field(ge=0, lt=2**31)]


class SamplerSettings(Settings):
    """The sampler, which proposes the next trial."""

    name: Literal["tpe", "gp", "cmaes", "nsgaii", "sobol", "halton", "random", "grid"] = "tpe"
    seed: int = Field(0, ge=0, lt=2**31)
    startup_trials: int = Field(10, ge=1, description="random trials before TPE, GP, CMA-ES lead")
    population: int = Field(20, ge=2, description="NSGA-II: trials of a generation")


class PrunerSettings(Settings):
    """The pruner, which stops trials early by the objective that they report."""

    name: Literal["asha", "hyperband", "median", "none"] = "asha"
    min_epochs: int = Field(1, ge=1, description="no trial is stopped before this epoch")
    reduction: int = Field(
        3, ge=2, description="ASHA, Hyperband, `repeats`: one in so many goes on at each rung"
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
    """An earlier sweep whose best trials start this one."""

    sweep: str = Field(min_length=1, description="its name in the same storage, or its folder")
    top: int = Field(5, ge=1, description="so many of its best trials")
    how: Literal["points", "trials"] = Field(
        "points",
        description="points: tried first, measured anew; trials: taken as known, which needs the "
        "same base, data and objectives",
    )


class TrackingSettings(Settings):
    """Where MLflow keeps the runs."""

    uri: str | None = Field(
        None,
        description="server or database; default: MLFLOW_TRACKING_URI when the sweep begins, else "
        "STORAGE/mlflow.db",
    )
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
    """What stays on disk of trials that have ended; the winner's encoder always does."""

    encoders: Literal["all"] | PositiveInt = Field(
        "all", description="encoders, on disk and in MLflow: of all finished trials, or so many"
    )
    checkpoints: int = Field(
        1, ge=0, description="full checkpoints, of the best so many trials; on disk alone"
    )


UNTRAINED = ("captions", "joints")


def _registered(protocols: list[str]) -> list[str]:
    for name in protocols:
        find("protocol", name)
    return _once(protocols)


class FinalSettings(Settings):
    """The choice and the test figures, after the last trial."""

    test: bool = Field(
        True, description="score the winner and what stands beside it on the test part"
    )
    protocols: Annotated[list[str], AfterValidator(_registered)] = Field(
        ["linear", "knn", "clustering", "few-shot"],
        description="registered protocols that score the encoders; zero-shot needs a table",
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
    beside: Annotated[list[str], AfterValidator(_once)] = Field(
        default_factory=list,
        description="what stands beside winner and random encoder in the test table: base "
        "experiment; winner with hard targets, with another objective (supervised, skeletonclr, "
        "aimclr, masked_motion) or with the changes of a variant, same budget and seeds; captions "
        "alone; neighbours of raw joints",
    )
    variants: dict[Annotated[str, Field(pattern=NAME)], dict[str, Any]] = Field(
        default_factory=dict,
        description="further names for `beside`, each with settings that are changed in the winner",
    )

    @property
    def trained(self) -> list[str]:
        """What of ``beside`` takes trainings of its own."""
        return [who for who in self.beside if who not in UNTRAINED]

    def changes(self, who: str) -> dict[str, Any]:
        """Return what a row of the test table changes in the winner's settings.

        Raises:
            UserError: ``beside`` names neither a variant nor a registered objective.
        """
        if who in self.variants:
            return self.variants[who]
        if who == "hard":
            return {"objective.targets": "hard"}
        # Whole: a temperature of the contrast means nothing to another objective.
        return {"objective": {"name": find("objective", who).name}}


class SweepSettings(Settings):
    """All settings of a sweep."""

    name: str = Field(pattern=NAME)
    description: str = ""
    base: Experiment = Field(
        default_factory=dict, validate_default=True, description="experiment, or its file's path"
    )
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
    repeats: int = Field(
        1,
        ge=1,
        description="seeds of a trial, those of `final`: as one, judged by their mean. Each after "
        "the first is for the best one in `pruner.reduction` of trials that have as many",
    )
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
    storage: DataLocation = Field(
        Path("runs"),
        description="folder or URL; holds sweeps/NAME/, a folder also mlflow.db, mlartifacts/",
    )
    study: str | None = Field(None, description="Optuna storage URL; default: study.db")
    study_patience: float = Field(
        600.0, ge=0, description="seconds that a study which is locked or away is waited for"
    )
    tracking: TrackingSettings = TrackingSettings()
    keep: KeepSettings = KeepSettings()
    final: FinalSettings = FinalSettings()

    @property
    def folder(self) -> SweepFolder:
        """The sweep's folder."""
        return SweepFolder.of(self.storage, self.name)

    @property
    def words(self) -> str:
        """The sweep as an argument of commands: its name, and where it lies if that is a URL."""
        return self.name + (f" --storage {self.storage}" if isinstance(self.storage, str) else "")

    @cached_property
    def rules(self) -> list[Constraint]:
        """The constraints, parsed."""
        settings = setting_names(self.base.model_dump(mode="json"))
        return [parse_constraint(text, figures.names(), settings) for text in self.constraints]

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest trial of the space."""
        found: list[Any] = [self.base.train.epochs]
        for name, variable in self.space.items():
            if isinstance(variable, Variant):
                bundles = map(flatten, variable.choices.values())
                found += [bundle["train.epochs"] for bundle in bundles if "train.epochs" in bundle]
            elif name == "train.epochs" and isinstance(variable, Categorical):
                found += variable.choices
            elif name == "train.epochs" and isinstance(variable, Float | Int):
                found.append(variable.high)
        return int(max(found))

    @property
    def tracking_uri(self) -> str:
        """Address of MLflow's store; the default is in the storage folder, as an absolute path."""
        if self.tracking.uri is not None:
            return self.tracking.uri
        assert isinstance(self.storage, Path), "checked with the settings"
        return f"sqlite:///{self.storage.absolute() / 'mlflow.db'}"

    @property
    def study_uri(self) -> str:
        """Address of Optuna's storage."""
        return self.study or f"sqlite:///{self.folder.study}"

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return self.tracking.model or self.name
