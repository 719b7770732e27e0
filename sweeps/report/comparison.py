"""Sweeps, or trials, side by side: settings that differ, the objective, what the end scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from c2vl.config.reading import flatten
from c2vl.support.errors import UserError, did_you_mean
from c2vl.support.remote import Location
from sweeps.choosing.final_choice import read_choice
from sweeps.choosing.summary import metrics
from sweeps.report.trials import read_trial
from sweeps.search.study import ENDED, name_of, reader
from sweeps.spec.lock import refresh_run
from sweeps.spec.reading import read_sweep
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.sweep_folder import SweepFolder

# They say nothing of what was done, and an address may hold a password
APART = ("name", "description", "storage", "study", "tracking.uri", "base.name")


@dataclass(frozen=True)
class Side:
    """A column.

    Attributes:
        name: of the sweep or the trial.
        settings: by dotted name.
        figures: by name, in the order in which they are shown.
    """

    name: str
    settings: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)


def side(storage: Location, name: str) -> Side:
    """Read a sweep (``demo``) or a trial (``demo-0007``).

    Raises:
        UserError: there is neither.
    """
    known = SweepFolder.names(storage)
    if name in known:
        return _sweep(read_sweep(storage, name))
    sweep, _, number = name.rpartition("-")
    if sweep not in known or not number.isdecimal():
        near = did_you_mean(name, known)
        raise UserError(f"{name}: neither a sweep in {storage} nor a trial (SWEEP-0007){near}")
    return _trial(read_sweep(storage, sweep), name)


def _sweep(spec: SweepSettings) -> Side:
    study, final = reader(spec), read_choice(spec.folder)
    ranked, counts = study.ranking(), study.counts()
    figures: dict[str, Any] = {key: counts[key] for key in ("complete", "pruned", "failed")}
    if ranked:
        best, metric = ranked[0], spec.objectives[0].metric
        figures |= {"best trial": name_of(spec, best.number), f"best {metric}": best.values[0]}
        figures |= {f"best: {key}": value for key, value in best.drawn.items()}
    if final is not None:
        figures |= {"winner": final.trial, **metrics(final, {})}
    return Side(spec.name, flatten(spec.model_dump(mode="json")), figures)


def _trial(spec: SweepSettings, name: str) -> Side:
    ended, final = reader(spec).trials(*ENDED), read_choice(spec.folder)
    record = next((one for one in ended if name_of(spec, one.number) == name), None)
    if record is None:
        raise UserError(f"{name}: no such trial has ended; c2vl-sweep status {spec.name}")
    refresh_run(spec.folder, spec.folder.trials / name)
    trial = read_trial(spec, record)
    figures: dict[str, Any] = {"outcome": trial.outcome, "epochs": trial.epochs}
    figures["seconds"] = trial.seconds
    if trial.values is not None:
        figures |= {o.metric: v for o, v in zip(spec.objectives, trial.values, strict=True)}
    if final is not None and final.trial == trial.number:
        figures |= {"winner": final.trial, **metrics(final, {})}
    return Side(name, flatten(trial.training.experiment.model_dump(mode="json")), figures)


def rows(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Return a row a setting that differs, then one a figure; None where a side has none."""
    found = []
    for what in ("settings", "figures"):
        own = [getattr(one, what) for one in sides]
        for key in dict.fromkeys(key for values in own for key in values):
            values = [one.get(key) for one in own]
            if what == "settings" and (key in APART or all(v == values[0] for v in values)):
                continue
            names = [one.name for one in sides]
            found.append({"": key, **dict(zip(names, values, strict=True))})
    return found
