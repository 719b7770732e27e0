"""What a sweep that has begun keeps: all that makes its trials comparable."""

from __future__ import annotations

from typing import Any

import yaml

from c2vl.config.reading import flatten, parse
from c2vl.support.errors import UserError
from sweeps.spec import provenance
from sweeps.spec.store_addresses import shown
from sweeps.spec.sweep import SweepSettings

CHANGEABLE = (
    "concurrency", "autoscaling", "max_hours", "max_cpu_hours", "max_gpu_hours", "max_failures",
    "max_failed_trials", "study_patience", "tracking.patience",
    "tracking.uri", "tracking.experiment", "tracking.model",
)  # fmt: skip
# A folder may be moved, and its file then edited; that the data is the same is checked by content.
_PLACES = ("storage", "study", "base.data.store", "base.prompts.language", "base.prompts.vision")


def require_kept(
    known: SweepSettings, spec: SweepSettings, file: str, *, but: tuple[str, ...] = ()
) -> None:
    """Check that settings are those that a sweep has begun with, but for what may change.

    Args:
        known: with which it has begun.
        spec: those of now.
        file: says them.
        but: settings that may change as well.

    Raises:
        UserError: one has changed.
    """
    old, new = (flatten(one.model_dump(mode="json")) for one in (known, spec))
    # code that is sent with a job lies in another folder each time, and passwords change
    may_change = {*CHANGEABLE, *but, "trials", "base.imports"}
    for key in sorted((old.keys() | new.keys()) - may_change):
        before, now = old.get(key), new.get(key)
        if shown(str(before)) != shown(str(now)):
            raise UserError(
                f"{key}: the sweep {spec.name} has begun with {before}, and {file} says {now}; "
                "a sweep that has begun keeps it: put it back, or start another: name=OTHER"
            )


def require_unedited(spec: SweepSettings) -> None:
    """Check that nobody has edited the ``sweep.yaml`` of a sweep that has begun.

    Raises:
        UserError: a setting has changed without which earlier trials cannot be ranked with later.
    """
    for start in provenance.recorded(spec.folder):
        if provenance.SETTINGS in start:  # not in what earlier versions recorded
            values: Any = yaml.safe_load(start[provenance.SETTINGS])
            known = parse(SweepSettings, values, str(spec.folder.provenance))
            require_kept(known, spec, str(spec.folder.settings), but=(*_PLACES, "description"))
            return
