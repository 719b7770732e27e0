"""Every figure that training reports, in one table.

Whoever lists, checks, explains or ranks figures derives it from here: the loop, validation,
progress lines, the encoder's card, a sweep's objectives and constraints, its pruner, its report,
MLflow's run description and docs/sweeps.md. An objective of your own adds its figures with
:func:`add`; one that is not in the table is reported all the same, without a meaning or direction.

Example:
    >>> describe("loss_skeleton_vision").better
    'lower'
    >>> "alignment_language" in names()
    True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from c2vl.config.experiment import Experiment
from c2vl.config.reading import flatten
from c2vl.objective.settings import Edge
from c2vl.support import tables
from c2vl.support.errors import UserError

COUNTERS = ("epoch", "step")  # every row has them; they locate the row and are no figures
SYSTEM = "system_"  # tracking logs names with this prefix as MLflow system metrics


@dataclass(frozen=True)
class Figure:
    """One figure, or several of one kind.

    Attributes:
        name: of its column in ``metrics.jsonl``; ``*`` stands for each of ``over``.
        meaning: one line.
        when: "step": the mean over an epoch's steps; "epoch": once an epoch; "validation": at
            epochs that are validated.
        better: which of two values is the better one; empty where neither is.
        unit: empty for a plain number.
        labels: whether it judges the encoder with labels or without; None: it does not judge it.
        over: what ``*`` stands for.
        needs: settings of which one must be above 0 (or true) for it to be reported; a ``*`` in
            them is the name's.
        short: it stands in progress lines and on an encoder's card.
    """

    name: str
    meaning: str
    when: Literal["step", "epoch", "validation"]
    better: Literal["higher", "lower", ""] = ""
    unit: str = ""
    labels: bool | None = None
    over: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    short: bool = False

    @property
    def names(self) -> list[str]:
        """Return the names of its columns."""
        return [self.name.replace("*", each) for each in self.over] or [self.name]

    @property
    def sign(self) -> int:
        """Return 1 where higher is better, -1 where lower is, 0 where neither is."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]


_EDGES, _MODALITIES = get_args(Edge), ("language", "vision")
_WEIGHT = "objective.weights.*"
_CONCEPTS = ("objective.weights.skeleton_*", "objective.weights.vision_language")

# Alignment and uniformity: Wang and Isola, ICML 2020; RankMe: Garrido et al., ICML 2023.
FIGURES = [
    Figure("loss", "loss of the global batch", "step", "lower", labels=False, short=True),
    Figure("loss_*", "part of one edge, before its weight", "step", "lower", labels=False,
           over=_EDGES, needs=(_WEIGHT,)),
    Figure("grad_norm", "norm of the gradient before it is clipped", "step",
           needs=("optim.clip",)),
    Figure("alpha", "softening degree α at the last step", "epoch", short=True),
    Figure("lr", "learning rate at the end of the epoch", "epoch"),
    Figure("temperature_*", "temperature τ of one edge", "epoch", over=_EDGES,
           needs=(_WEIGHT, "objective.weights.vision_language")),
    Figure("linear_val", "accuracy of a linear probe, mean over folds of training groups",
           "validation", "higher", "share", labels=True, short=True),
    Figure("knn_val", "accuracy of the nearest neighbour, mean over folds of training groups",
           "validation", "higher", "share", labels=True, short=True),
    Figure("alignment", "squared distance of skeleton and concept, mean over modalities",
           "validation", "lower", labels=False),
    Figure("alignment_*", "squared distance of skeleton and concept of one modality", "validation",
           "lower", labels=False, over=_MODALITIES, needs=_CONCEPTS),
    Figure("uniformity", "log of the mean Gaussian potential of features on the sphere",
           "validation", "lower", labels=False),
    Figure("rankme", "effective rank of the features", "validation", "higher", "dimensions",
           labels=False, short=True),
    Figure("seconds", "time of the epoch's steps", "epoch", "lower", "s"),
    Figure("samples_per_second", "throughput over all workers", "epoch", "higher", "1/s",
           short=True),
    Figure("data_wait", "share of the time that steps waited for their batch", "epoch", "lower",
           "share"),
    Figure(f"{SYSTEM}cpu_cores", "busy cores of the first worker, mean", "epoch", unit="cores",
           needs=("train.system_metrics",)),
    Figure(f"{SYSTEM}memory_mib", "resident memory of the first worker", "epoch", "lower", "MiB",
           needs=("train.system_metrics",)),
    Figure(f"{SYSTEM}gpu_memory_mib", "highest GPU memory of the first worker", "epoch", "lower",
           "MiB", needs=("train.system_metrics",)),
]  # fmt: skip


def add(figure: Figure) -> None:
    """Add a figure that an objective of your own returns with its loss.

    Raises:
        UserError: another figure has its name.
    """
    if figure in FIGURES:
        return
    if taken := set(figure.names) & {*names(), *COUNTERS}:
        raise UserError(f"{min(taken)}: training reports a figure of this name; rename yours")
    FIGURES.append(figure)


def names(figures: Iterable[Figure] | None = None) -> list[str]:
    """Return the names of all columns, or of those of some figures."""
    return [name for one in (FIGURES if figures is None else figures) for name in one.names]


def describe(name: str) -> Figure:
    """Return the figure of a column; an unknown column is described as a mean over steps."""
    for figure in FIGURES:
        if name in figure.names:
            return figure
    return Figure(name, "of an objective of your own", "step")


def short_names() -> list[str]:
    """Return the columns that stand in progress lines."""
    return names(figure for figure in FIGURES if figure.short)


def lacking(name: str, experiment: Experiment) -> dict[str, Any]:
    """Return the settings, all 0 or false, that keep a column out of a training's figures.

    Args:
        name: of the column.
        experiment: of the training.

    Returns:
        Each with its value; raising any of them brings the column. Empty where it is reported.
    """
    figure = describe(name)
    if not figure.needs:
        return {}
    settings = flatten(experiment.model_dump(mode="json"))
    each = name.removeprefix(figure.name.rstrip("*"))
    keys = [need.replace("*", each) for need in figure.needs]
    values = {key: settings[key] for key in keys if key in settings}
    return {} if any(values.values()) else values


def markdown(shown: Callable[[str], str] = str) -> str:
    """Return the table for a page.

    Args:
        shown: returns a figure's name there.
    """
    when = {"step": "mean over steps", "epoch": "each epoch", "validation": "validation"}
    labels = {True: "yes", False: "no", None: "–"}
    return tables.markdown(
        [
            {
                "figure": f"`{shown(one.name)}`"
                + (f" ({', '.join(one.over)})" if one.over else ""),
                "meaning": one.meaning,
                "unit": one.unit or "–",
                "better": one.better or "–",
                "reported": when[one.when],
                "labels": labels[one.labels],
            }
            for one in FIGURES
        ]
    )
