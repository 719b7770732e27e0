"""JSON Schemas of sweep and experiment files, for editors: names, meanings, ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.config.reading import setting_names
from c2vl.support.files import write_text
from sweeps.spec.checks import FIXED
from sweeps.spec.sweep import SweepSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema() -> dict[str, Any]:
    """Return the schema of an experiment file (``c2vl train``)."""
    return {"$schema": DIALECT, **Experiment.model_json_schema(), "title": "C2VL experiment"}


def sweep_schema() -> dict[str, Any]:
    """Return the schema of a sweep file.

    Beyond what the settings themselves say: ``base`` is an experiment or the path of its file, and
    the keys of ``space`` are settings that can be searched, or the free names of variants.
    """
    schema = SweepSettings.model_json_schema()
    properties = schema["properties"]
    properties["base"] = {
        "description": properties["base"]["description"],
        "anyOf": [{"$ref": "#/$defs/Experiment"}, {"type": "string"}],
    }
    space = properties["space"]
    variable = space.pop("additionalProperties")
    space["properties"] = {name: variable for name in setting_names() if name not in FIXED}
    space["additionalProperties"] = {"$ref": "#/$defs/Variant"}
    return {"$schema": DIALECT, **schema, "title": "C2VL sweep"}


def write_schemas(folder: Path) -> list[Path]:
    """Write ``sweep.schema.json`` and ``experiment.schema.json``.

    Returns:
        Their paths.

    Raises:
        UserError: they cannot be written there.
    """
    written = []
    for name, schema in (("sweep", sweep_schema()), ("experiment", experiment_schema())):
        path = folder / f"{name}.schema.json"
        write_text(path, json.dumps(schema, indent=1) + "\n")
        written.append(path)
    return written
