"""The search space: variables for any setting of the experiment, conditions and variants.

A variable is keyed by the dotted setting that it sets. A ``variant`` sets several settings at once
and has a free name. ``when`` makes a variable active only beside certain values of other variables;
otherwise the base experiment's value stands.

Example:
    >>> variables = {"optim.lr": Float(type="float", low=0.01, high=1.0, log=True)}
    >>> order(variables)
    ['optim.lr']
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from c2vl.config.experiment import Experiment, Settings
from c2vl.config.reading import flatten, from_dict, override
from c2vl.support.errors import UserError, did_you_mean

Choice = bool | int | float | str | None
NEAR = 1e-8  # of a step: so close to a step a value is on it, for Optuna


class _Variable(Settings):
    when: dict[str, list[Choice]] = Field(
        default_factory=dict, description="active only while these variables have these values"
    )


class _Number(_Variable):
    @model_validator(mode="after")
    def _range(self) -> _Number:
        low, high = float(getattr(self, "low", 0)), float(getattr(self, "high", 0))
        log, step = bool(getattr(self, "log", False)), getattr(self, "step", None)
        if low >= high:
            raise ValueError(f"low {low:g} must be below high {high:g}")
        if log and low <= 0:
            raise ValueError("a log range needs low above 0; set log to false")
        if log and step is not None and (isinstance(self, Float) or step != 1):
            raise ValueError("log and step exclude each other")
        return self


class Float(_Number):
    """A real number in [low, high]."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = Field(False, description="draw the logarithm evenly")
    step: float | None = Field(None, gt=0, description="distance of allowed values from low on")


class Int(_Number):
    """A whole number in [low, high]."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int = Field(1, ge=1)


class Categorical(_Variable):
    """One of several values."""

    type: Literal["categorical"]
    choices: list[Choice] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Categorical:
        if len({(type(c), c) for c in self.choices}) < len(self.choices):
            raise ValueError("a choice stands there twice")
        return self


class Variant(_Variable):
    """One of several named bundles of settings."""

    type: Literal["variant"]
    choices: dict[str, dict[str, Any]] = Field(min_length=1)


Variable = Annotated[Float | Int | Categorical | Variant, Field(discriminator="type")]
Space = Mapping[str, Float | Int | Categorical | Variant]


class Suggests(Protocol):
    """The methods of an Optuna trial that a draw calls."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


class RandomDraws:
    """Random draws without a study, to check a space before a sweep starts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw uniformly, or log-uniformly; one draw in five is an end, where errors live."""
        if (end := self._random.random()) < 0.2:
            return low if end < 0.1 else high
        if log:
            drawn = math.exp(self._random.uniform(math.log(low), math.log(high)))
            return min(max(drawn, low), high)
        if step:
            drawn = low + step * self._random.randint(0, int((high - low) / step + 1e-9))
            return min(drawn, high)
        return self._random.uniform(low, high)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Draw a whole number."""
        return low + step * self._random.randint(0, (high - low) // step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw a choice."""
        return self._random.choice(list(choices))


def order(space: Space) -> list[str]:
    """Return the variables' names, each after the variables of its condition.

    Raises:
        UserError: a condition names no variable, a value it cannot take, or itself in a circle.
    """
    done: list[str] = []
    left = list(space)
    for name, variable in space.items():
        for other, values in variable.when.items():
            if other not in space:
                near = did_you_mean(other, [one for one in space if one != name])
                raise UserError(f"space.{name}.when: {other} is not searched{near}")
            if not _listed(space[other]):
                raise UserError(f"space.{name}.when: {other} has no choices, but a range")
            if strange := [value for value in values if not holds(space, other, value)]:
                known = choices(space[other])
                raise UserError(f"space.{name}.when: {other} is never {strange[0]!r}: {known}")
    while left:
        ready = [name for name in left if all(other in done for other in space[name].when)]
        if not ready:
            raise UserError(f"space: the conditions of {', '.join(left)} go in a circle")
        done += ready
        left = [name for name in left if name not in ready]
    return done


def choices(variable: Float | Int | Categorical | Variant) -> list[Choice] | None:
    """Return the values that a variable can take; None if they cannot be listed."""
    if not _listed(variable):
        return None
    if isinstance(variable, Categorical | Variant):
        return list(variable.choices)
    if isinstance(variable, Int):
        return list(range(variable.low, variable.high + 1, variable.step))
    low, step, count = _steps(variable)
    return [float(low + step * i) for i in range(count)]


def _listed(variable: Float | Int | Categorical | Variant) -> bool:
    """Say whether a variable's values can be listed."""
    if isinstance(variable, Int):
        return not variable.log
    return not isinstance(variable, Float) or variable.step is not None


def _steps(variable: Float) -> tuple[Decimal, Decimal, int]:
    """Return low, step and number of a variable's values in decimals, as Optuna does."""
    low, high, step = (Decimal(str(n)) for n in (variable.low, variable.high, variable.step))
    return low, step, int((high - low) // step) + 1


def holds(space: Space, name: str, value: object) -> bool:
    """Say whether a variable can take a value."""
    variable = space[name]
    if isinstance(variable, Categorical | Variant):
        return value in (choices(variable) or [])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not variable.low <= value <= variable.high:  # nor NaN or infinity
        return False
    if isinstance(variable, Int):
        return (value - variable.low) % variable.step == 0
    if variable.step is None:
        return True
    low, step, count = _steps(variable)
    place = (value - variable.low) / variable.step
    return value <= float(low + step * (count - 1)) and abs(place - round(place)) < NEAR


def active(variable: Float | Int | Categorical | Variant, values: Mapping[str, Any]) -> bool:
    """Say whether a variable's condition holds beside ``values``."""
    return all(other in values and _among(values[other], ok) for other, ok in variable.when.items())


def _among(value: Choice, wanted: Collection[Choice]) -> bool:
    """Say whether a value is among others; the third step of 0.1 is 0.30000000000000004."""
    return value in wanted or any(
        isinstance(value, float)
        and isinstance(one, int | float)
        and math.isclose(value, one, rel_tol=1e-9, abs_tol=1e-12)
        for one in wanted
    )


def draw(space: Space, trial: Suggests) -> dict[str, Any]:
    """Draw a value for every active variable.

    Args:
        trial: an Optuna trial, which gives the same values every time.
    """
    values: dict[str, Any] = {}
    for name in order(space):
        variable = space[name]
        if not active(variable, values):
            continue
        if isinstance(variable, Float):
            values[name] = trial.suggest_float(
                name, variable.low, variable.high, step=variable.step, log=variable.log
            )
        elif isinstance(variable, Int):
            values[name] = trial.suggest_int(
                name, variable.low, variable.high, step=variable.step, log=variable.log
            )
        else:
            values[name] = trial.suggest_categorical(name, list(variable.choices))
    return values


def settings(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dotted settings of drawn ``values``, those of variants included."""
    changes: dict[str, Any] = {}
    for name, value in values.items():
        variable = space[name]
        if isinstance(variable, Variant):
            changes |= flatten(variable.choices[value])
        else:
            changes[name] = value
    return changes


def experiment(base: Experiment, space: Space, values: Mapping[str, Any]) -> Experiment:
    """Build the experiment of one draw.

    Raises:
        UserError: the settings exclude each other.
    """
    return from_dict(override(base.model_dump(mode="json"), settings(space, values)))


def grid(space: Space) -> list[dict[str, Any]]:
    """Return every combination of a space of finite choices once.

    Raises:
        UserError: a variable has no finite list of values.
    """
    names = order(space)
    for name in names:
        if choices(space[name]) is None:
            raise UserError(f"space.{name}: a grid needs choices or a step; give it one of them")
    points: list[dict[str, Any]] = []
    for combination in itertools.product(*(choices(space[name]) or [] for name in names)):
        point: dict[str, Any] = {}
        for name, value in zip(names, combination, strict=True):
            if active(space[name], point):
                point[name] = value
        if point not in points:
            points.append(point)
    return points
