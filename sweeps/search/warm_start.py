"""Starts a sweep from the best trials of an earlier one.

Figures of other data, or of another base experiment, say little about this sweep. So it trains the
best configurations first, and anew (``points``). If base, data and objectives are the same, the
earlier trials may count as known instead (``trials``): the sampler learns from them, and they are
in no count, ranking or table of this sweep.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from c2vl.config.reading import flatten
from c2vl.support.errors import UserError
from c2vl.support.remote import is_url, parse_location
from sweeps.search.study import reader, training_of
from sweeps.search.trial_record import PRIOR
from sweeps.spec.constraints import impossible, violations
from sweeps.spec.lock import refresh_run
from sweeps.spec.provenance import data_manifest, recorded
from sweeps.spec.reading import read_sweep
from sweeps.spec.space import Float, Int, Space, Variant, active, holds, order
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training

log = logging.getLogger(__name__)
PATHS = ("data.store", "prompts.language", "prompts.vision")  # their contents are compared


def starting_points(spec: SweepSettings) -> list[dict[str, Any]]:
    """Return the best configurations of the earlier sweep, as points of this space.

    Settings that the earlier sweep did not search have the values of its base experiment. A value
    outside of this space is logged and drawn instead.

    Raises:
        UserError: there is no such sweep, or it has no complete trial.
    """
    if spec.warm_start is None or spec.warm_start.how != "points":
        return []
    points: list[dict[str, Any]] = []
    for training, _ in _best(spec):
        point, strange = _point(spec.space, training)
        for name, value in strange.items():
            log.warning(
                "warm_start: %s: %s = %r is outside of this space", training.name, name, value
            )
        if point and point not in points:
            points.append(point)
    return points


def known_trials(spec: SweepSettings, study: optuna.Study) -> list[FrozenTrial]:
    """Return complete trials of the earlier sweep that this study does not hold yet.

    A trial with a value outside of this space, or that this sweep's constraints on settings
    exclude, is logged and left out. By how much it breaks those on figures goes with it, as every
    trial's does: samplers take one without for feasible, and the Gaussian process fails.

    Raises:
        UserError: there is no such sweep, or its figures were measured under other conditions.
    """
    if spec.warm_start is None or spec.warm_start.how != "trials":
        return []
    _require_same(spec, earlier := _earlier(spec))
    there = {trial.user_attrs.get(PRIOR) for trial in study.get_trials(deepcopy=False)}
    made = []
    for training, values in _best(spec):
        point, strange = _point(spec.space, training)
        missing = [name for name in order(spec.space) if name not in point]
        missing = [name for name in missing if active(spec.space[name], point)]
        if strange or missing:
            log.warning(
                "warm_start: %s is left out: %s not in this space",
                training.name,
                ", ".join(dict.fromkeys([*strange, *missing])),
            )
        elif reason := impossible(spec.rules, training.experiment):
            log.warning("warm_start: %s is left out: %s", training.name, reason)
        elif training.name not in there:
            known = optuna.trial.create_trial(
                params=point,
                distributions={name: distribution(spec.space, name) for name in point},
                values=values,
                user_attrs={PRIOR: training.name},
            )
            refresh_run(earlier.folder, training.folder)
            found = violations(spec.rules, training.experiment, training.rows())
            for rule, broken in found.items():
                known.set_constraint(rule, broken)
            made.append(known)
    return made


def check_warm_start(spec: SweepSettings) -> None:
    """Check that the earlier sweep exists and fits.

    Raises:
        UserError: it does not.
    """
    if spec.warm_start is None:
        return
    earlier = _earlier(spec)
    if spec.warm_start.how == "trials":
        _require_same(spec, earlier)
    _best(spec)


def distribution(space: Space, name: str) -> BaseDistribution:
    """Return a variable as Optuna's distribution, as :func:`sweeps.spec.space.draw` asks for it."""
    variable = space[name]
    if isinstance(variable, Float):
        return FloatDistribution(variable.low, variable.high, log=variable.log, step=variable.step)
    if isinstance(variable, Int):
        return IntDistribution(variable.low, variable.high, log=variable.log, step=variable.step)
    return CategoricalDistribution(list(variable.choices))


def _earlier(spec: SweepSettings) -> SweepSettings:
    assert spec.warm_start is not None
    given = spec.warm_start.sweep
    try:
        if is_url(given):  # STORAGE/sweeps/NAME, as a folder's path too
            place, _, name = str(parse_location(given)).rpartition("/")
            return read_sweep(place.removesuffix("/sweeps"), name)
        if "/" in given:
            path = Path(given).absolute()
            return read_sweep(path.parents[1], path.name)
        return read_sweep(spec.storage, given)
    except (UserError, IndexError) as error:
        raise UserError(f"warm_start.sweep: {error}") from None


def _best(spec: SweepSettings) -> list[tuple[Training, list[float]]]:
    assert spec.warm_start is not None
    earlier = _earlier(spec)
    best = reader(earlier).ranking()[: spec.warm_start.top]
    found = [(training_of(earlier, one.number, one.drawn), list(one.values)) for one in best]
    if not found:
        raise UserError(f"warm_start.sweep: {spec.warm_start.sweep} has no complete trial yet")
    return found


def _require_same(spec: SweepSettings, earlier: SweepSettings) -> None:
    """Check that the figures of both sweeps can be compared."""
    remedy = "so its figures say little here; use warm_start.how: points"
    mine, other = (flatten(one.base.model_dump(mode="json")) for one in (spec, earlier))
    searched = {"name", *PATHS, *spec.space, *earlier.space}
    for one in (spec, earlier):
        for variable in one.space.values():
            if isinstance(variable, Variant):
                searched |= {key for bundle in variable.choices.values() for key in flatten(bundle)}
    for name in sorted((mine.keys() | other.keys()) - searched):
        if mine.get(name) != other.get(name):
            raise UserError(
                f"warm_start: {earlier.name} had {name} {json.dumps(other.get(name))}, "
                f"this sweep {json.dumps(mine.get(name))}, {remedy}"
            )
    if spec.objectives != earlier.objectives:
        raise UserError(f"warm_start: {earlier.name} had other objectives, {remedy}")
    here = json.loads(json.dumps(data_manifest(spec.base)))
    starts = recorded(earlier.folder)
    if not starts or any(start["data"] != here for start in starts):
        raise UserError(f"warm_start: {earlier.name} was run on other data, {remedy}")


def _point(space: Space, training: Training) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a trial's configuration as values of ``space``, and the values outside of it."""
    settings = flatten(training.experiment.model_dump(mode="json"))
    point: dict[str, Any] = {}
    strange: dict[str, Any] = {}
    for name in order(space):
        variable = space[name]
        if not active(variable, point):
            continue
        value = settings.get(name)
        if isinstance(variable, Variant):
            value = training.values.get(name) or next(
                (
                    label
                    for label, bundle in variable.choices.items()
                    if all(settings.get(k) == v for k, v in flatten(bundle).items())
                ),
                None,
            )
        if holds(space, name, value):
            point[name] = value
        else:
            strange[name] = value
    return point, strange
