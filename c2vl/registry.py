"""The named parts that others may add: backbones, objectives, datasets and more, each by a name.

A part is registered when its module is imported, ours as anybody's::

    from c2vl.registry import register

    register("backbone", "mine", MyNetwork, settings=MySettings)

A module reaches the registry in two ways: an installed package names it as an entry point of the
group ``c2vl.KIND``, or an experiment file lists it under ``imports``, by its dotted name or as a
path of a Python file. Ours are those of :data:`OURS`. Commands that read no experiment file
import what the environment variable ``C2VL_IMPORTS`` lists, separated by commas. What a part of
each kind must provide stands in docs/parts.md.

Example:
    >>> "stgcn" in names("backbone")
    True
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from c2vl.support.errors import UserError, did_you_mean, first_line

if TYPE_CHECKING:  # a trained encoder is loaded where pydantic is absent
    from pydantic import BaseModel

Kind = Literal[
    "backbone",
    "objective",
    "schedule",
    "augmentation",
    "optimizer",
    "protocol",
    "dataset",
    "joint_names",
    "text_encoder",
    "image_encoder",
    "label_free_score",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Part:
    """A registered part.

    Attributes:
        name: how settings and commands call it.
        target: the part itself, or its ``"module:attribute"``, imported when it is first used.
        settings: its class of settings or that class's ``"module:attribute"``, where it has any.
    """

    kind: Kind
    name: str
    target: Any
    settings: type[BaseModel] | str | None
    help: str
    module: str

    def load(self) -> Any:
        """Return the part itself."""
        return _loaded(self.target)

    def load_settings(self) -> type[BaseModel] | None:
        """Return its class of settings, if it has any."""
        found: type[BaseModel] | None = _loaded(self.settings)
        return found

    @property
    def origin(self) -> dict[str, str]:
        """Where it comes from: ``module``, and ``package`` and ``version`` of an installed one.

        Nothing where it is one of our own.
        """
        top = self.module.partition(".")[0]
        if top == "c2vl":
            return {}
        if found := _packages().get(top):
            return {"module": self.module, "package": found[0], "version": version(found[0])}
        return {"module": _files.get(self.module, self.module)}


_packages = cache(packages_distributions)  # reading them takes 0.2 s, and each training asks


def _loaded(target: Any) -> Any:
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


_parts: dict[tuple[Kind, str], Part] = {}
# Modules that register our own parts. They are named here and not as entry points, so that they are
# found where the code came without its installation: beside a model of MLflow's, in a job of Ray's.
OURS: dict[Kind, str] = {
    "backbone": "c2vl.model.parts",
    "objective": "c2vl.objective.parts",
    "schedule": "c2vl.objective.parts",
    "augmentation": "c2vl.skeletons.parts",
    "optimizer": "c2vl.training.parts",
    "protocol": "c2vl.protocols.parts",
    "dataset": "c2vl.skeletons.datasets.parts",
    "joint_names": "c2vl.skeletons.parts",
    "text_encoder": "c2vl.prompts.encoders.parts",
    "image_encoder": "c2vl.prompts.encoders.parts",
    "label_free_score": "c2vl.probes.parts",
}

_searched: set[tuple[Kind, bool]] = set()
_files: dict[str, str] = {}  # module of an imported file → the file's name


def register(
    kind: Kind,
    name: str,
    target: Any,
    *,
    settings: type[BaseModel] | str | None = None,
    help: str = "",
) -> None:
    """Add a part.

    Args:
        name: unique within its kind.
        target: the part (a class or function; its kind's documentation says which), or
            ``"module:attribute"``, so that registering it imports nothing heavy.
        settings: a class of settings, checked and listed like our own, or its
            ``"module:attribute"``.

    Raises:
        UserError: the name is taken by a part of another module, or there is no such kind.
    """
    if kind not in KINDS:
        raise UserError(f"{kind}: no such kind of part{did_you_mean(kind, KINDS)}")
    module = str(sys._getframe(1).f_globals.get("__name__", "?"))
    there = _parts.get((kind, name))
    if there is not None and there.module != module:
        raise UserError(
            f"{kind} {name}: registered by {there.module} and by {module}; rename one of them"
        )
    _parts[kind, name] = Part(kind, name, target, settings, help, module)


def find(kind: Kind, name: str) -> Part:
    """Return a part by its name.

    Raises:
        UserError: there is none; the message names those that are there and says how to add one.
    """
    _search(kind, ours=True)  # a broken package must not hinder those who do not use it
    if (kind, name) not in _parts:
        _search(kind)
    if (kind, name) not in _parts:
        known = names(kind)
        raise UserError(
            f"{name}: no such {kind.replace('_', ' ')}{did_you_mean(name, known)}; "
            f"there: {', '.join(known) or 'none'}. A part of your own: name its module under "
            "`imports`, or install its package here"
        )
    return _parts[kind, name]


def names(kind: Kind) -> list[str]:
    """Return the names of a kind's parts, in the order in which they were registered."""
    _search(kind)
    return [name for of, name in _parts if of == kind]


def parts(kind: Kind) -> list[Part]:
    """Return a kind's parts, in the order in which they were registered."""
    return [_parts[kind, name] for name in names(kind)]


def _search(kind: Kind, *, ours: bool = False) -> None:
    """Import the modules that register a kind's parts, once: our own, then those of others."""
    for own in (True,) if ours else (True, False):
        if (kind, own) in _searched:
            continue
        _searched.add((kind, own))
        if own:
            importlib.import_module(OURS[kind])
        else:
            for entry in sorted(entry_points(group=f"c2vl.{kind}"), key=lambda entry: entry.name):
                _import(entry.load, f"entry point {_from(entry)}")
            import_modules(filter(None, os.environ.get("C2VL_IMPORTS", "").split(",")))


def _from(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "?"
    return f"{entry.name} = {entry.value} of {package}"


def absolute(module: str, base: Path | None = None) -> str:
    """Return a path under ``imports`` as an absolute one; a dotted name stays as it is."""
    return str(((base or Path()) / module).absolute()) if module.endswith(".py") else module


def import_modules(modules: Iterable[str], base: Path | None = None) -> None:
    """Import the modules that an experiment lists under ``imports``; they register their parts.

    Args:
        modules: dotted names, or paths of Python files (they end in ``.py``).
        base: what relative paths start from; default: the working directory.

    Raises:
        UserError: one is not there, or fails on import.
    """
    for module in modules:
        if module.endswith(".py"):
            _import(partial(_import_file, Path(absolute(module, base))), f"imports: {module}")
        else:
            _import(partial(importlib.import_module, module), f"imports: {module}")


def _import(load: Callable[[], Any], what: str) -> None:
    try:
        load()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{what}: cannot be imported here ({type(error).__name__}: {first_line(error)}). A "
            "file beside the experiment is named with its ending (my_parts.py); on a cluster, "
            "install the package on every node, or submit it with the working directory"
        ) from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    # Two files of one name are two modules; the same file is imported once.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"{path.stem}_{digest}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _files[name] = path.name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
