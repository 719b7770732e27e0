"""One row a figure: what was measured on what, with an interval and all that it depends on.

Each run of a protocol writes one JSON file into a results folder. The file's name is a hash of what
decides the figures, so that an evaluation with the same inputs reuses the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.config.reading import flatten
from c2vl.support.errors import UserError
from c2vl.support.files import parse_json, replacing, write_text
from c2vl.support.tables import MEDIAN_RANK
from c2vl.support.versions import versions

if TYPE_CHECKING:  # tables of rows are read without torch
    import pandas as pd

    from c2vl.protocols.task import Outcome, Task

FORMAT = 1
RESAMPLES = 2000
GROUPS = 100  # that the jackknife leaves out in turn, at most
ENOUGH = 5
"""Subjects that the bootstrap needs to draw whole subjects. With fewer it draws sequences, and the
interval is narrower than the truth."""
PACKAGES = ("c2vl", "torch", "numpy", "scikit-learn")
CARD_FIELDS = (
    "protocol",
    "key",
    "metric",
    "setting",
    "value",
    "low",
    "high",
    "interval",
    "chance",
    "dataset",
    "split",
    "part",
    "seed",
    "test_scoring",
    "versions",
)


@dataclass(frozen=True)
class Result:
    """A figure and everything that it depends on.

    Attributes:
        protocol, key, metric, setting: what was measured (see :class:`~.task.Outcome`).
        value, low, high: the figure and its 95 % bootstrap interval, 0..1 (ARI may be below 0), or
            a rank, from 1.
        interval: what the bootstrap drew: "subjects" or "sequences".
        spread, draws: standard deviation over a protocol's draws, and how many there were.
        sequences: how many were scored.
        who: label of what was evaluated, the row of a table.
        encoder, stream, encoder_seed: digest, input stream and training seed of the encoder.
        trained_on: dataset that the encoder was trained on.
        dataset, split, part: what it was scored on.
        data: checksum and counts of the store.
        seed: of the protocol's own draws.
        options: the protocol's options, and what was chosen on the way.
        test_scoring: number of this test scoring among those of the encoder; 0 on validation.
        versions: of Python and the packages that decide numbers.
        experiment: settings of the encoder's training by dotted name, but name and seed: encoders
            that differ in them are different experiments. Rows of earlier versions have none.
        chance: what guessing scores, of protocols that read no label; None of others.
    """

    protocol: str
    key: str
    metric: str
    setting: str
    value: float
    low: float
    high: float
    interval: str
    spread: float | None
    draws: int
    sequences: int
    who: str
    encoder: str
    stream: str
    encoder_seed: int | None
    trained_on: str
    dataset: str
    split: str
    part: str
    data: dict[str, Any]
    seed: int
    options: dict[str, Any]
    test_scoring: int
    versions: dict[str, str]
    experiment: dict[str, Any] = dataclasses.field(default_factory=dict)
    chance: float | None = None


def to_results(
    protocol: str,
    task: Task,
    outcomes: Iterable[Outcome],
    *,
    who: str,
    options: Mapping[str, Any],
    test_scoring: int,
) -> list[Result]:
    """Turn a protocol's outcomes into rows."""
    card, store = task.encoder.card, task.store
    origin = card.get("provenance", {})
    experiment = flatten(origin.get("experiment", {}))
    experiment = {key: experiment[key] for key in experiment.keys() - {"name", "seed"}}
    rows = []
    for outcome in outcomes:
        value, low, high, drawn = interval(outcome, _groups(task, outcome), task.seed)
        rows.append(
            Result(
                protocol=protocol,
                key=outcome.key,
                metric=outcome.metric,
                setting=outcome.setting,
                value=value,
                low=low,
                high=high,
                interval=drawn,
                spread=outcome.spread,
                draws=outcome.draws,
                sequences=len(outcome.positions),
                who=who,
                encoder=task.encoder.digest,
                stream=str(card["stream"]),
                encoder_seed=origin.get("seed"),
                trained_on=str(origin.get("dataset", "nothing")),
                dataset=str(store.manifest["dataset"]),
                split=task.split.name,
                part=task.part,
                data={
                    "checksum": store.digest,
                    "layout": store.layout.name,
                    "sequences": len(store),
                    "training": len(task.split.train),
                    "test": len(task.split.test),
                },
                seed=task.seed,
                options={**options, **outcome.chosen},
                test_scoring=test_scoring,
                versions=versions(PACKAGES),
                experiment=dict(sorted(experiment.items())),
                chance=outcome.chance,
            )
        )
    return rows


def _groups(task: Task, outcome: Outcome) -> NDArray[np.int64]:
    return task.store.index["subject"].to_numpy(np.int64)[outcome.positions]


def interval(
    outcome: Outcome, subjects: NDArray[np.int64], seed: int
) -> tuple[float, float, float, str]:
    """The figure with a 95 % interval, which holds it (Efron and Tibshirani, 1993).

    A mean or a median gets a percentile bootstrap (their chapter 13). Agreement of clusters with
    classes gets a jackknife by groups (chapter 11): resamples with replacement hold copies of a
    sequence, which share cluster and class, so that a bootstrap lies above the figure itself.

    Whole subjects are drawn where there are five or more: sequences of one person are alike, and
    drawing them one by one would make the interval too narrow.

    Args:
        outcome: what was measured.
        subjects: (n,) performer of each scored sequence; below 0 where unknown.
        seed: of the draws.

    Returns:
        Value, low, high, and what was drawn: "subjects" or "sequences".
    """
    names, group = np.unique(subjects, return_inverse=True)
    by_subject = len(names) >= ENOUGH and int(names.min()) >= 0
    if not by_subject:
        group = np.arange(len(subjects))
    count = int(group.max()) + 1
    drawn = "subjects" if by_subject else "sequences"
    draw = np.random.default_rng([seed, 95])
    if outcome.clusters is not None:
        return *_jackknife(outcome, draw.permutation(count)[group] % GROUPS), drawn
    times = draw.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)  # (B, groups)
    if outcome.metric == MEDIAN_RANK:
        medians = [np.median(np.repeat(outcome.values, often[group])) for often in times]
        low, high = np.percentile(medians, [2.5, 97.5])
        return outcome.value, float(low), float(high), drawn
    weights = np.ones(len(group)) if outcome.weights is None else outcome.weights
    above = np.bincount(group, weights * outcome.values, minlength=count)
    below = np.bincount(group, weights, minlength=count)
    means = (times @ above) / np.maximum(times @ below, 1e-12)
    low, high = np.percentile(means, [2.5, 97.5])
    return outcome.value, float(low), float(high), drawn


def _jackknife(outcome: Outcome, group: NDArray[np.int64]) -> tuple[float, float, float]:
    """Agreement of clusters with classes, ± 1.96 standard errors from leaving out each group."""
    from c2vl.probes.clusters import agreement

    labels, clusters = outcome.values.astype(np.int64), outcome.clusters
    assert clusters is not None
    value, lowest = agreement(outcome.metric, labels, clusters), -float(outcome.metric == "ARI")
    names = np.unique(group)
    if len(names) == 1:  # nothing tells the spread of one sequence
        return value, lowest, 1.0
    kept = [group != name for name in names]
    without = [agreement(outcome.metric, labels[rows], clusters[rows]) for rows in kept]
    reach = 1.96 * float((len(names) - 1) * np.var(without)) ** 0.5
    return value, max(value - reach, lowest), min(value + reach, 1.0)


def file_of(folder: Path, protocol: str, task: Task, who: str, options: Mapping[str, Any]) -> Path:
    """Return the file of a protocol's run; equal inputs give an equal name."""
    key = [protocol, task.encoder.digest, task.store.digest, task.split.name, task.part, task.seed]
    key += [task.by, task.k, who, dict(options)]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{protocol}-{task.part}-{digest}.json"


def write_results(path: Path, rows: list[Result]) -> None:
    """Write the rows of a run, all or nothing."""
    body = {"format": FORMAT, "results": [dataclasses.asdict(row) for row in rows]}
    write_text(path, json.dumps(body, indent=1))


def read_results(path: Path) -> list[Result]:
    """Read the rows of a run.

    Raises:
        UserError: the file is damaged or of another format.
    """
    try:
        body = parse_json(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']}, this version reads {FORMAT}")
        return [Result(**row) for row in body["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no results of `c2vl evaluate` ({error}); remove it") from None


def read_folder(folders: Iterable[Path]) -> list[Result]:
    """Read all rows in results folders, in the order of their files' names.

    Raises:
        UserError: a folder has none.
    """
    rows: list[Result] = []
    for folder in folders:
        found = [row for path in sorted(folder.glob("*.json")) for row in read_results(path)]
        if not found:
            raise UserError(f"{folder}: no results here; c2vl evaluate linear … --out {folder}")
        rows += found
    return rows


def to_frame(rows: Iterable[Result]) -> pd.DataFrame:
    """One row a figure, nested fields as JSON text, which every Parquet reader takes."""
    import pandas as pd

    table = pd.DataFrame([dataclasses.asdict(row) for row in rows])
    for column in ("data", "options", "versions", "experiment"):
        table[column] = [json.dumps(value, sort_keys=True) for value in table[column]]
    return table


def write_parquet(path: Path, rows: Iterable[Result]) -> None:
    """Write rows as one Parquet table."""
    with replacing(path) as file:
        to_frame(rows).to_parquet(file)


def card_rows(folder: Path, digest: str) -> list[dict[str, Any]]:
    """Return an encoder's figures in a results folder, in the form of the encoder's card.

    Args:
        folder: a results folder.
        digest: of the encoder.

    Raises:
        UserError: the folder has none of this encoder.
    """
    found = [row for row in read_folder([folder]) if row.encoder == digest]
    if not found:
        raise UserError(f"{folder}: has no figures of this encoder ({digest[:12]})")
    return [{name: getattr(row, name) for name in CARD_FIELDS} for row in found]
