"""What people see of a sweep in MLflow's pages: names of figures, descriptions, a saved view.

MLflow draws, sorts and groups by names alone. Figures of one kind share the part before the slash;
the charts of a saved view compare what was drawn, by the objective.
"""

from __future__ import annotations

import getpass
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from c2vl.config.experiment import Experiment
from c2vl.training.figures import SYSTEM, describe, markdown
from sweeps.spec.space import Variant
from sweeps.spec.sweep import SweepSettings
from sweeps.tracking.mlflow_internals import KIND_OF_EXPERIMENT, SAVED_VIEW, view_of_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"
CHOICE = "choice"
"""Tag of the runs of a sweep's candidates: "winner" or "candidate"."""
WINNER = "winner"
"""Parameter of a sweep's run: the run whose settings its other parameters are."""
USER, SOURCE, SOURCE_TYPE, COMMIT = (
    "mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit",
)  # fmt: skip
TRAINING_PAGES = {KIND_OF_EXPERIMENT: "custom_model_development"}
"""Tags of an experiment of model training. MLflow 3.17 ignores them: a browser opens on pages for
language models until a person chooses "Model training"."""


def metric_name(figure: str, *, plain: bool = False) -> str:
    """Return the name of a figure in MLflow: ``train/loss``, ``val/linear``, ``system/cpu_cores``.

    Args:
        plain: as earlier releases named it.
    """
    if plain and not figure.startswith(SYSTEM):
        return figure
    if figure.startswith(SYSTEM):
        return f"system/{figure.removeprefix(SYSTEM)}"
    if describe(figure).when == "validation":
        return f"val/{figure.removesuffix('_val')}"
    return f"train/{figure}"


def origin(program: str, commit: str = "") -> dict[str, str]:
    """Return the tags that MLflow shows as "Source" and "Created by".

    Args:
        program: the command and what it works on; no secret.
        commit: of the code; empty if unknown.
    """
    try:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = ""
    tags = {
        USER: user,
        SOURCE: program,
        SOURCE_TYPE: "LOCAL",
        COMMIT: commit.removesuffix("-dirty"),
    }
    return {key: value for key, value in tags.items() if value}


def description(spec: SweepSettings, chosen: str = "") -> str:
    """Return the description of a sweep's run, as Markdown.

    Args:
        chosen: what was chosen, in Markdown; empty while nothing is.
    """
    objective = spec.objectives[0]
    parts = [
        spec.description,
        f"Ranked by `{metric_name(objective.metric)}` ({describe(objective.metric).meaning}; "
        f"{objective.direction}). Trials side by side: saved view *{view_name(spec)}*.",
        chosen,
        chosen
        and f"This run's tags `{WINNER}` and `drawn.*` are of the winner. Its parameters are those "
        f"of the run that `{WINNER}` names among them: MLflow cannot change them, so that after an "
        "extension with another winner they stay.",
        figures_explained(spec.base),
    ]
    return "\n\n".join(part for part in parts if part)


def figures_explained(experiment: Experiment) -> str:
    """Return what each figure means, as Markdown: MLflow has no notes on metrics."""
    return f"## Figures\n\n{experiment.held_out}\n\n{markdown(metric_name)}"


# --- a saved view -----------------------------------------------------------------------------


def view_name(spec: SweepSettings) -> str:
    """Return the name of a sweep's saved view, as MLflow's menu shows it."""
    return f"sweep {spec.name}"


def saved_view(spec: SweepSettings, identity: str, when: int) -> dict[str, str]:
    """Return a tag of the experiment: a sweep's trials, best first, by objective and settings.

    Args:
        identity: of the sweep.
        when: in ms since 1970.
    """
    objective, drawn = spec.objectives[0], _drawn(spec)
    view = view_of_runs(
        where=f"tags.sweep_id = '{identity}' and tags.kind = 'trial'",
        metrics=[metric_name(one.metric) for one in spec.objectives],
        largest_first=objective.direction == "maximize",
        tags=[CHOICE, "outcome", *(f"drawn.{key}" for key in drawn if _bundle(spec, key))],
        params=[key for key in drawn if not _bundle(spec, key)],
        title=view_name(spec),
    )
    said = {
        "name": view_name(spec),
        "createdAt": when,
        "updatedAt": when,
        "state": json.dumps(view),
    }
    return {SAVED_VIEW + identity: json.dumps(said)}


def _drawn(spec: SweepSettings) -> list[str]:
    """Return the settings that the sweep draws: temperature and schedule first, as people ask."""
    first = ("objective.temperature", "objective.schedule")
    return sorted(spec.space, key=lambda key: not key.startswith(first))


def _bundle(spec: SweepSettings, key: str) -> bool:
    """Say whether a variable sets several settings, and so is no parameter itself."""
    return isinstance(spec.space[key], Variant)


def delete_view(client: MlflowClient, experiment: str, identity: str) -> None:
    """Delete a sweep's saved view, if it has one.

    Args:
        experiment: its name.
        identity: of the sweep.
    """
    found = client.get_experiment_by_name(experiment)
    if found is not None and (tag := SAVED_VIEW + identity) in found.tags:
        client.delete_experiment_tag(found.experiment_id, tag)


def view_address(uri: str, experiment: str, identity: str) -> str:
    """Return the address of a sweep's saved view.

    Args:
        uri: of the store; of a database, the page is that of a server on it (``make ui``).
        experiment: its id.
        identity: of the sweep.
    """
    server = uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    query = urlencode(
        {
            "workflowType": "machine_learning",
            "compareRunsMode": "CHART",
            "viewStateShareKey": identity,
        }
    )
    return f"{server}/#/experiments/{quote(experiment)}/runs?{query}"
