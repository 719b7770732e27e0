"""Pydantic's problems in a user's words: the path as it stands in the file, the nearest name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from c2vl.config.by_name import choice, settings_at
from c2vl.support.errors import did_you_mean
from c2vl.support.remote import holds_secret

_SETTINGS = "must be settings (name: value)"
_MESSAGES = (  # pydantic's words, and ours
    (re.compile(r"^Input should be a valid (dictionary|mapping).*"), _SETTINGS),
    (re.compile(r"^expected settings \(name: value\)"), _SETTINGS),
    (re.compile(r"^Input should be a valid integer.*"), "must be a whole number"),
    (re.compile(r"^Input should be a valid number.*"), "must be a number"),
    (re.compile(r"^Input should be a valid boolean.*"), "must be true or false"),
    (re.compile(r"^Input should be a valid string"), "must be text"),
    (re.compile(r"^Input should be a valid"), "must be a"),
    (re.compile(r"^(Input|String|List|Tuple|Dictionary|Set) should "), "must "),
    (re.compile(r" after validation, not (\d+)$"), r", not \1"),
)


def explain(
    model: type[BaseModel],
    values: Any,
    what: str,
    problem: Any,
    every: Collection[str] = (),
    said: Collection[str] = (),
) -> str:
    """Word one of pydantic's problems: the field by its path, what is wrong, the value given.

    Args:
        model: what was validated.
        values: nested mappings, as YAML gives them.
        what: what to call the whole, usually a file's name.
        problem: one of ``ValidationError.errors()``.
        every: all settings by their dotted names, to tell where one belongs.
        said: dotted names of what the command line gave.
    """
    path, known, meaning = _place(model, values, problem["loc"])
    dotted = ".".join(path).removeprefix("base.") + "."
    if any(dotted.startswith(f"{key.removeprefix('base.')}.") for key in said):
        what = "command line"
    where = f"{what}: {'.'.join(path)}" if path else what
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such setting{_near(str(problem['loc'][-1]), known, every)}"
    if problem["type"] == "missing":
        return f"{where}: must be set" + (f": {meaning}" if meaning else "")
    message, given = _message(problem), problem["input"]
    if message == _SETTINGS and isinstance(given, str):
        return f"{where}: {message}; of a part by its name: {'.'.join(path)}.name={given}"
    named = isinstance(given, dict) or problem["type"] == "part" or holds_secret(str(given))
    return f"{where}: {message}" + ("" if named else f" (given: {given!r})")


def _message(problem: Any) -> str:
    """Return what is wrong, without the library's words and patterns."""
    message, given = problem["msg"].removeprefix("Value error, "), problem["input"]
    if problem["type"] == "string_pattern_mismatch":
        pattern = problem["ctx"]["pattern"]
        if odd := [sign for sign in dict.fromkeys(given) if not re.match(pattern, f"a{sign}")]:
            return f"cannot have {' or '.join(map(repr, odd))} in it"
        return (
            "is too long" if re.match(pattern, given[:1]) else "must begin with a letter or digit"
        )
    for pattern, ours in _MESSAGES:
        message = pattern.sub(ours, message)
    return str(message)


def _near(name: str, known: Collection[str], every: Collection[str]) -> str:
    """Return the setting of this level that may be meant, or the one of this name elsewhere."""
    here = did_you_mean(name, known)
    if not here.startswith("; did"):
        for setting in every:
            if setting.rpartition(".")[2] == name:
                return f'; did you mean "{setting}"?'
    return here


def _place(
    model: type[BaseModel], values: Any, loc: Iterable[str | int]
) -> tuple[list[str], list[str], str]:
    """Return a problem's path as it stands in the file, the names that exist there, its meaning.

    Pydantic's own path also names the member of a union (``space.optim.lr.float.low``).
    """
    kinds: list[Any] = [model]
    path: list[str] = []
    there: dict[str, str] = {}
    for part in loc:
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if len(models) > 1 and (chosen := [one for one in models if _tag(one) == part]):
            kinds = list(chosen)
            continue
        path.append(str(part))
        there = {
            name: field.description or ""
            for one in models
            for name, field in one.model_fields.items()
        }
        values = values.get(part) if isinstance(values, Mapping) else None
        kinds = [inner for kind in kinds for inner in _below(kind, part, values)]
    return path, list(there), there.get(path[-1], "") if path else ""


def _tag(model: type[BaseModel]) -> str | None:
    """Return the value of ``type`` that tells a member of a union from the others."""
    field = model.model_fields.get("type")
    return get_args(field.annotation)[0] if field is not None else None


def _below(kind: Any, part: str | int, values: Any) -> list[Any]:
    """Return the types that may stand at a key, or an index, of a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        if field is None:
            return []
        chosen = choice(field)
        return members(field.annotation) if chosen is None else [settings_at(field, chosen, values)]
    return members(get_args(kind)[-1]) if get_origin(kind) in (list, dict) else []


def members(annotation: Any) -> list[Any]:
    """Return the types that a value may have, without what is annotated to them."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for one in get_args(annotation) for member in members(one)]
    return [annotation]
