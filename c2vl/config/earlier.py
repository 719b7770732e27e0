"""Translates experiments that earlier releases wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's values under the names of this release.

    * ``objective.supervised: true`` is now the objective ``supervised``; the settings of the
      contrast beside it had no effect.
    * ``optim`` held momentum and nesterov beside ``name: adamw``, where they had no effect.
    """
    found = dict(values)
    objective = found.get("objective")
    if isinstance(objective, Mapping) and isinstance(objective.get("supervised"), bool):
        kept = {key: value for key, value in objective.items() if key != "supervised"}
        found["objective"] = {"name": "supervised"} if objective["supervised"] else kept
    optim = found.get("optim")
    if isinstance(optim, Mapping) and optim.get("name") == "adamw":
        of_sgd = ("momentum", "nesterov")
        found["optim"] = {key: value for key, value in optim.items() if key not in of_sgd}
    return found
