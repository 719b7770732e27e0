"""Reads experiments from YAML files, command lines and nested mappings, and writes YAML.

Unknown keys and impossible combinations raise :class:`c2vl.support.errors.UserError`, with the path
of the field and the nearest name that exists.

Example:
    >>> data, prompts = {"store": "stores/ntu60"}, {"language": "captions"}
    >>> values = {"data": data, "prompts": prompts, "objective": {"temperature": 0.1}}
    >>> experiment = from_dict(values)
    >>> experiment.objective.temperature
    0.1
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from c2vl.config.by_name import ByName, choice, settings_at
from c2vl.config.experiment import Experiment, Settings
from c2vl.config.problems import explain
from c2vl.registry import absolute, import_modules, names
from c2vl.support import remote
from c2vl.support.errors import UserError, did_you_mean
from c2vl.support.yaml_files import load_yaml, parse_yaml

_STRANGE = 3  # unknown names at the top that are no slips any more, where they are most
SettingsT = TypeVar("SettingsT", bound=Settings)


def from_dict(values: Mapping[str, Any]) -> Experiment:
    """Build settings from nested mappings.

    Raises:
        UserError: a key is unknown or a value is out of range; the message has the field's path.
    """
    return parse(Experiment, values, "experiment")


def parse(
    model: type[SettingsT], values: Mapping[str, Any], what: str, said: Collection[str] = ()
) -> SettingsT:
    """Validate ``values`` as ``model``; one message names every mistake.

    Args:
        model: any settings class (the sweep file uses it too).
        what: what to call the whole in a message (a file's name, usually).
        said: dotted names of what the command line gave, which messages then name as the place.

    Raises:
        UserError: naming each field by its path, the value given and the nearest known name.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{what}: expected settings (name: value), found {type(values).__name__}")
    unknown = [str(key) for key in values if key not in model.model_fields]
    if len(unknown) >= _STRANGE and 2 * len(unknown) > len(values):
        raise UserError(
            f"{what}: is a file of something else (it has {', '.join(unknown)}); settings here "
            f"are {', '.join(model.model_fields)}"
        )
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        every = [name for name, _, _ in described(model, values)]
        lines = [explain(model, values, what, one, every, said) for one in error.errors()]
        raise UserError("\n".join(dict.fromkeys(lines))) from None


def setting_names(values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return every dotted setting with its default (the sweep's vocabulary).

    Args:
        values: an experiment, of which the parts' names count; default: our default parts.
    """
    return {name: default for name, default, _ in described(Experiment, values or {})}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def override(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of nested ``values`` with dotted ``changes`` applied.

    Where a change names another part (``optim.name``), settings that only the part before has are
    dropped; those that both have stay.
    """
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for path, value in sorted(changes.items(), key=lambda item: not _names_part(item[0])):
        if _names_part(path):
            result = _without_leftovers(result, path, value)
        result = _put(result, path, value)
    return result


def _put(values: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    if rest:
        below = values.get(head)
        value = _put(below if isinstance(below, Mapping) else {}, rest, value)
    return {**values, head: value}


def _names_part(path: str) -> bool:
    return path.rpartition(".")[2] in ("name", "shape")


def _without_leftovers(values: dict[str, Any], path: str, name: Any) -> dict[str, Any]:
    """Drop the settings that the part of a new name does not have."""
    kind: Any = Experiment
    there: Any = values
    *above, _ = path.split(".")
    before: type[BaseModel] | None = None
    for key in above:
        field = kind.model_fields.get(key)
        there = there.get(key) if isinstance(there, Mapping) else None
        if field is None or not isinstance(there, Mapping):
            return values
        chosen = choice(field)
        if chosen is None:
            kind = field.annotation
        else:
            before = settings_at(field, chosen, there)
            after = settings_at(field, chosen, {chosen.tag: name})
            kind = before
    if before is None:
        return values
    gone = before.model_fields.keys() - after.model_fields.keys()
    return _put(values, ".".join(above), {k: v for k, v in there.items() if k not in gone})


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """``["optim.lr=0.1"]`` → ``{"optim.lr": 0.1}``; values are read as YAML.

    Raises:
        UserError: a word without ``=``.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f'"{pair}": write settings as key=value, for example optim.lr=0.1')
        try:
            parsed = parse_yaml(value)
        except ValueError:
            raise UserError(f'"{pair}": the value is not YAML; quote it') from None
        if isinstance(parsed, str):  # YAML 1.1 reads 1e-4 as text
            try:
                parsed = float(parsed)
            except ValueError:
                pass
        changes[key] = parsed
    return changes


PRESET = "preset:"
PRESETS = Path(__file__).parents[1] / "presets"


def named_file(path: Path, presets: Path) -> Path:
    """Return the file that a path names: ``preset:NAME`` is one that comes with the package.

    Args:
        presets: the package's folder of presets.

    Raises:
        UserError: there is no such preset, or the file is absent and a preset bears its name.
    """
    name = str(path).removeprefix(PRESET)
    is_file = name == str(path)
    if is_file and path.exists():
        return path
    known = {
        str(file.relative_to(presets).with_suffix("")): file for file in presets.rglob("*.yaml")
    }
    if is_file and name in known:
        raise UserError(f"{path}: no such file; did you mean {PRESET}{name}?")
    if is_file:
        return path
    if name not in known:
        raise UserError(f"{path}: no such preset{did_you_mean(name, known)}")
    return known[name]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Raises:
        UserError: the file is missing, is not YAML, or holds no mapping.
    """
    values = load_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected settings (name: value), found {type(values).__name__}")
    return values


def read_experiment(path: Path) -> dict[str, Any]:
    """Return what an experiment file says, unchecked.

    Raises:
        UserError: it cannot be read, or is a sweep file.
    """
    values = read_yaml(path)
    if of_sweeps := [key for key in ("base", "space") if key in values]:
        raise UserError(
            f"{path}: is a sweep file (it has {', '.join(of_sweeps)}), and an experiment is needed "
            f"here; `c2vl-sweep run {path}` runs the sweep"
        )
    return values


def load(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment from YAML, with ``key=value`` overrides from a command line.

    Args:
        path: of the file, or ``preset:NAME``.
    """
    path = named_file(path, PRESETS)
    values = with_imports(read_experiment(path), path.parent)
    changes = parse_overrides(overrides)
    return parse(Experiment, override(values, changes), path.name, changes)


def with_imports(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Import what an experiment lists under ``imports``; paths in it become absolute.

    Args:
        folder: of its file, where relative paths start.

    Raises:
        UserError: a module cannot be imported.
    """
    modules = values.get("imports")
    if not isinstance(modules, list) or not all(isinstance(one, str) for one in modules):
        return values  # validation says what is wrong with it
    modules = [absolute(one, folder) for one in modules]
    import_modules(modules)
    return {**values, "imports": modules}


def dump(experiment: Experiment) -> str:
    """Return the resolved experiment as YAML; :func:`load` reads it back equal."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)


def resolved(experiment: Experiment) -> Experiment:
    """Return an experiment with absolute paths: workers start in folders of their own."""
    data, prompts = experiment.data, experiment.prompts
    split = (
        str(remote.at_home(data.split).absolute()) if data.split.endswith(".csv") else data.split
    )
    tables = {
        name: remote.absolute(path)
        for name, path in (("language", prompts.language), ("vision", prompts.vision))
        if path is not None
    }
    return experiment.model_copy(
        update={
            "imports": tuple(absolute(module) for module in experiment.imports),
            "data": data.model_copy(update={"store": remote.absolute(data.store), "split": split}),
            "prompts": prompts.model_copy(update=tables),
        }
    )


_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def described(
    model: type[BaseModel], values: Mapping[str, Any] | None = None
) -> list[tuple[str, Any, str]]:
    """List settings as (dotted name, default, meaning), in the order of their definition.

    The names of parts in ``values`` decide which settings there are. What must be set has no
    default: None.
    """
    return [
        (
            name,
            None if field.is_required() else field.get_default(call_default_factory=True),
            field.description or "",
        )
        for name, field, _ in _fields(model, values or {})
    ]


def alternatives(
    model: type[BaseModel], values: Mapping[str, Any] | None = None
) -> dict[str, list[str]]:
    """Return the dotted settings that name a part, with the names that are registered now."""
    found = _fields(model, values or {})
    return {name: names(chosen.kind) for name, _, chosen in found if chosen is not None}


def allowed(model: type[BaseModel], values: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return what each setting may be, in words: choices or a range; others are left out."""
    found = {name: _allowed(field) for name, field, _ in _fields(model, values or {})}
    parts = {
        name: f"one of: {', '.join(known)}" for name, known in alternatives(model, values).items()
    }
    return {name: said for name, said in (found | parts).items() if said}


def _allowed(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "true or false"
    literals = [get_args(one) for one in (field.annotation, *get_args(field.annotation))
                if get_origin(one) is Literal]  # fmt: skip
    if literals:
        return f"one of: {', '.join(map(str, literals[0]))}"
    bounds = [(word, getattr(one, name)) for one in field.metadata for name, word in _BOUNDS.items()
              if hasattr(one, name)]  # fmt: skip
    return ", ".join(f"{word} {bound:g}" for word, bound in bounds)


def _fields(
    model: type[BaseModel], values: Mapping[str, Any], above: ByName | None = None
) -> Iterator[tuple[str, FieldInfo, ByName | None]]:
    """Yield each setting: its dotted name, its field, and how it names a part where it does."""
    for name, field in model.model_fields.items():
        chosen, kind, below = choice(field), field.annotation, values.get(name)
        below = below if isinstance(below, Mapping) else {}
        if chosen is not None:
            kind = settings_at(field, chosen, below)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inner = _fields(kind, below, chosen)
            yield from ((f"{name}.{rest}", of, how) for rest, of, how in inner)
        else:
            yield name, field, above if above is not None and above.tag == name else None
