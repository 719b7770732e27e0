"""What this package uses of MLflow beyond its public interface; each name has a contract test.

tests/sweeps/tracking/test_mlflow_internals.py says which of them an upgrade of MLflow has changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CUT_MIGRATION = "_alembic_tmp_"
"""Prefix of the temporary tables that an interrupted MLflow migration leaves in SQLite."""


def hush() -> None:
    """Silence loggers that print long SQLAlchemy traces at each try; errors are still raised."""
    for name in ("alembic", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def make_store(file: Path, artifacts: Path) -> None:
    """Create MLflow's tables in a new SQLite file, and close it.

    A public client creates them too, but keeps its connections open, and puts the artefacts
    of the default experiment into the working directory.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{file}", artifacts.as_uri()).engine.dispose()


@contextmanager
def own_store(uri: str) -> Iterator[None]:
    """Set the process's store for the block, then unset it and restore the environment variables.

    A registry asks the process's own tracking store for the model that a version is made from.
    """
    import mlflow

    # Setting a URI also writes the environment; a URI from the environment must not become set.
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # undocumented: None takes it back
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


KIND_OF_EXPERIMENT = "mlflow.experimentKind"
"""Tag of an experiment, by which MLflow's pages open on traces or on runs."""
SAVED_VIEW = "mlflow.sharedViewState."
"""Prefix of an experiment's tags that hold saved views of its runs, as the pages write them."""


def view_of_runs(
    *,
    where: str,
    metrics: list[str],
    largest_first: bool,
    tags: list[str],
    params: list[str],
    title: str,
) -> dict[str, Any]:
    """Return the state of the page of runs, as its button "Share" writes it.

    Args:
        where: which runs.
        metrics: columns; the first is sorted by, and drawn by epoch.
        largest_first: order of the first metric.
        tags: columns after the first metric.
        params: columns after the tags, and axes of the parallel coordinates.
        title: of the section of charts.
    """
    first, *others = [f"metrics.`{name}`" for name in metrics]
    columns = [
        first,
        *(f"tags.`{name}`" for name in tags),
        *(f"params.`{name}`" for name in params),
    ]
    section = "c2vl"

    def chart(kind: str, **more: Any) -> dict[str, Any]:
        own = {"type": kind, "uuid": f"c2vl-{kind}", "metricSectionId": section}
        return {**own, "deleted": False, "isGenerated": False, "runsCountToCompare": 100, **more}

    return {
        "searchFilter": where,
        "orderByKey": first,
        "orderByAsc": not largest_first,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns + others,
        "columnOrder": columns + others,
        "compareRunCharts": [
            chart(
                "PARALLEL",
                selectedParams=params,
                selectedMetrics=metrics,
                showAllRuns=True,
            ),
            chart("LINE", metricKey=metrics[0], selectedMetricKeys=metrics[:1], xAxisKey="step"),
        ],
        "compareRunSections": [
            {
                "uuid": section,
                "name": title,
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": False,
            }
        ],
        "groupBy": None,
    }
