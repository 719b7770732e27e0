"""What a sweep ran on and how to run it again: the small print of a report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from c2vl.support.remote import below
from c2vl.training.figures import describe
from sweeps.report.trials import Trials
from sweeps.spec import provenance
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training

RUNGS = ("asha", "hyperband")
Pairs = list[tuple[str, str]]


def about(trials: Trials) -> dict[str, Pairs]:
    """Return pairs of name and text, by heading."""
    spec = trials.spec
    return {
        "Search": _search(trials),
        **{f"Data: {name}": pairs for name, pairs in _data(spec).items()},
        "Versions": [(key, value) for key, value in _code(spec).items() if value],
    }


def _search(trials: Trials) -> Pairs:
    spec = trials.spec
    objectives = ", ".join(
        f"{o.metric}: {describe(o.metric).meaning} ({o.direction}"
        + (f", mean of the last {o.last})" if o.last > 1 else ")")
        for o in spec.objectives
    )
    found = [
        ("objective", objectives),
        ("sampler", f"{spec.sampler.name}, seed {spec.sampler.seed}"),
        ("pruner", _pruner(spec)),
        ("split", f"{spec.base.data.split}, {spec.base.data.validation_folds} "
                  f"validation folds by {spec.base.data.validation_by}"),
    ]  # fmt: skip
    found += [("constraint", text) for text in spec.constraints]
    if spec.warm_start is not None:
        known = f"best {spec.warm_start.top} of {spec.warm_start.sweep}, as {spec.warm_start.how}"
        found.append(("warm start", known))
    for limit in ("max_hours", "max_cpu_hours", "max_gpu_hours"):
        if (most := getattr(spec, limit)) is not None:
            found.append((limit.replace("_", " "), f"{most:g}"))
    begun = [trial.record.began for trial in trials.all if trial.record.began]
    ended = [trial.record.ended for trial in trials.all if trial.record.ended]
    if begun and ended:
        span = f"{min(begun):%Y-%m-%d %H:%M} to {max(ended):%Y-%m-%d %H:%M}"
        found.append(("first start to last end", span))
    return found


def _pruner(spec: SweepSettings) -> str:
    settings = spec.pruner
    if settings.name == "none":
        return "none"
    text = f"{settings.name}, not before epoch {settings.min_epochs}"
    return text + (f", 1 in {settings.reduction} goes on" if settings.name in RUNGS else "")


def _code(spec: SweepSettings) -> dict[str, str]:
    """Of the last start; an earlier one's other code is named beside it."""
    starts = provenance.recorded(spec.folder)
    if not starts:
        return {}
    commits = list(dict.fromkeys(str(start["git_commit"]) for start in starts))
    return {
        "commit": commits[-1],
        "begun with commit": ", ".join(commits[:-1]),
        "requirements.lock": starts[-1]["lock_sha256"] and f"sha256 {starts[-1]['lock_sha256']}",
        **starts[-1]["environment"],
    }


def _data(spec: SweepSettings) -> dict[str, Pairs]:
    starts = provenance.recorded(spec.folder)
    return {name: _plain(found) for name, found in starts[-1]["data"].items()} if starts else {}


def _plain(manifest: dict[str, Any]) -> Pairs:
    found = [(key.replace("_", " "), _words(value)) for key, value in manifest.items()]
    return [(key, text if len(text) <= 160 else text[:159] + "…") for key, text in found if text]


def _words(value: Any) -> str:
    """Return a manifest's value as text for readers."""
    if isinstance(value, dict):
        words = {key.replace("_", " "): _words(inner) for key, inner in value.items()}
        return ", ".join(f"{key} {text}" for key, text in words.items() if text)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def steps(spec: SweepSettings, training: Training) -> list[str]:
    """Return the steps that train the winner again: preparation, then the command."""
    commit = provenance.commit_of(spec.folder, training.folder)
    out = below(spec.storage, f"train/{training.name}")
    settings = Path("winner.yaml")  # it lies beside the page
    if isinstance(spec.storage, Path):
        settings = spec.storage / "sweeps" / spec.name / "report" / settings
    train = shlex.join(["c2vl", "train", str(settings), "--out", str(out)])
    return [f"git checkout {commit}", train] if commit else [train]
