"""Encoders in MLflow: fetched by address or run id, registered, and promoted by a rule.

A version of a registered model carries what it was chosen by as tags. The newest one is always
``candidate``; it becomes ``best`` when its figure is not worse than the one of the version that is
best now, by the same metric on validation of the same data. Figures of different data or metrics
cannot be compared: then a person decides, with ``c2vl-sweep promote``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from c2vl.encoder.sources import RUN_ID
from c2vl.support.errors import UserError
from sweeps.spec.objective import sign
from sweeps.spec.store_addresses import reason, shown
from sweeps.tracking.mlflow_internals import own_store
from sweeps.tracking.mlflow_store import does_not_answer, status_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

BEST, CANDIDATE = "best", "candidate"
DEFAULT = Path("runs/mlflow.db")


@contextmanager
def fetch(source: str) -> Iterator[Path]:
    """Download an encoder for as long as it is being read (the plugin of ``c2vl.load_encoder``).

    The store is the one that ``MLFLOW_TRACKING_URI`` names, or ``runs/mlflow.db``.

    Args:
        source: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID/PATH`` or a run's id.

    Raises:
        UserError: there is no such model or run, it holds no encoder, or MLflow does not answer.
    """
    import mlflow

    uri = tracking_uri()
    address = f"runs:/{source}/encoder" if RUN_ID.match(source) else source
    if source.startswith("models:/"):
        address = f"{source.rstrip('/')}/artifacts/encoder"  # not the code that lies beside it
    with TemporaryDirectory(prefix="c2vl-encoder-") as scratch, own_store(uri):
        try:
            found = Path(mlflow.artifacts.download_artifacts(address, dst_path=scratch))
        except Exception as error:  # MLflow and its stores raise many kinds
            if status_of(error) in (401, 403):
                raise does_not_answer(uri, error, source) from None
            why = reason(error, uri)
            raise UserError(f"{source}: not found in MLflow at {shown(uri)}: {why}") from None
        folder = found / "artifacts" / "encoder" if (found / "MLmodel").exists() else found
        if not (folder / "encoder.json").exists():
            raise UserError(f"{source}: holds no encoder of this project")
        yield folder


def tracking_uri() -> str:
    """MLflow's store: what the environment names, else the sweeps' own.

    Read anew each time, since tests and notebooks change it.

    Raises:
        UserError: the environment names none, and no sweep has run here.
    """
    import mlflow

    if os.environ.get("MLFLOW_TRACKING_URI") or mlflow.is_tracking_uri_set():
        return str(mlflow.get_tracking_uri())
    if not DEFAULT.exists():
        raise UserError(
            f"MLflow: there is no {DEFAULT} here; go where sweeps have run, or name the store: "
            "MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{DEFAULT.absolute()}"


@dataclass(frozen=True)
class Standing:
    """The figure that a version was chosen by, and its origin.

    Attributes:
        value: the figure on validation, the mean over the winner's seeds.
        metric: its name.
        direction: "maximize" or "minimize".
        data: checksum of the store, and the split.
    """

    value: float
    metric: str
    direction: str
    data: str

    def tags(self) -> dict[str, str]:
        """Return the tags of a version."""
        return {
            "validation": repr(self.value),
            "validation_metric": self.metric,
            "validation_direction": self.direction,
            "validation_data": self.data,
        }

    @classmethod
    def of(cls, version: Any) -> Standing | None:
        """Read a version's tags; None where it has none (an older version)."""
        tags = version.tags
        if "validation" not in tags:
            return None
        return cls(
            float(tags["validation"]),
            *(tags[f"validation_{name}"] for name in ("metric", "direction", "data")),
        )


def may_replace(new: Standing | None, old: Standing | None) -> tuple[bool, str]:
    """Apply the rule of promotion.

    Returns:
        Whether the new version becomes best, and the reason in words.
    """
    if old is None:
        return True, "nothing to compare with"
    if new is None:
        return False, "it has no validation figure"
    if (new.metric, new.data) != (old.metric, old.data):
        return False, "chosen by another metric or on other data"
    better = sign(new.direction) * new.value >= sign(new.direction) * old.value
    return better, f"{new.metric} {new.value:.4f} against {old.value:.4f}"


def promote(client: MlflowClient, model: str, version: str, *, force: bool = False) -> str:
    """Make a version the best one, where the rule or ``force`` says so.

    Args:
        model: name of the registered model.
        version: its number.
        force: a person has decided.

    Returns:
        ``models:/NAME@best (version N)``, or the version with the reason why not best.
    """
    best = current(client, model, BEST)
    if best is not None and best.version != version and not force:
        new = client.get_model_version(model, version)
        allowed, reason = may_replace(Standing.of(new), Standing.of(best))
        if not allowed:
            return f"models:/{model}/{version} (best stays version {best.version}: {reason})"
    client.set_registered_model_alias(model, BEST, version)
    return f"models:/{model}@{BEST} (version {version})"


def version_of(client: MlflowClient, model: str, number: str) -> Any | None:
    """Return a version by its number, or None if there is none."""
    return if_there(lambda: client.get_model_version(model, number))


def current(client: MlflowClient, model: str, alias: str) -> Any | None:
    """Return the version that has an alias, or None if none has."""
    return if_there(lambda: client.get_model_version_by_alias(model, alias))


def if_there(ask: Callable[[], Any]) -> Any | None:
    """Return None if the answer is that nothing is there; raise any other error.

    Otherwise a failed query would look like a model without a best version.
    """
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
