"""Opens MLflow's tracking store, creates SQLite files, and reports a store that is down."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # sweeps.tracking.tracker tries again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# the address that MLflow would print has the password in it
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from c2vl.support.errors import StorageAway, UserError
from c2vl.support.remote import Location
from sweeps.spec.store_addresses import DATABASES, reason, require_mlflow, shown, sqlite_file
from sweeps.tracking.mlflow_internals import CUT_MIGRATION, hush, make_store
from sweeps.tracking.pages import TRAINING_PAGES

ARTIFACTS = "mlartifacts"
EXISTS = "RESOURCE_ALREADY_EXISTS"
REFUSALS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, EXISTS: 409}
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
TLS = ("SSLError", "CERTIFICATE_VERIFY_FAILED", "CertificateError", "SSL certificate")
"""Signs of certificates that do not fit; the last is in nginx's 400 to a client without one."""


def open_client(uri: str) -> MlflowClient:
    """Return a client of a tracking store, log noise silenced; create a missing SQLite file."""
    hush()
    file = sqlite_file(uri)
    if file is not None and file.parent.is_dir() and not file.exists():
        _make(file)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make(file: Path) -> None:
    """Create an SQLite store under a temporary name, then rename it.

    MLflow creates its tables in some fifty separate steps; a kill between them would leave a file
    that MLflow can neither use nor complete.
    """
    partial = file.with_name(f".{file.name}.partial")
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():  # another process created it meanwhile
            return
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            left.unlink(missing_ok=True)
        make_store(partial, file.parent / ARTIFACTS)
        partial.rename(file)


def open_experiment(client: MlflowClient, uri: str, name: str, storage: Location) -> str:
    """Return the id of an MLflow experiment; create it if it is missing.

    A server chooses where artefacts go. With only a database, MLflow would put them into the
    working directory, so this puts them next to the file, or into ``storage``.
    """
    if (found := find_experiment(client, name)) is not None:
        return found
    place = None
    if uri.partition(":")[0].partition("+")[0] in DATABASES:
        if (file := sqlite_file(uri)) is not None:
            storage = file.parent
        place = (
            f"{storage.partition('?')[0]}/{ARTIFACTS}"
            if isinstance(storage, str)
            else (storage.absolute() / ARTIFACTS).as_uri()
        )
    try:
        return str(client.create_experiment(name, artifact_location=place, tags=TRAINING_PAGES))
    except MlflowException as error:
        if error.error_code != EXISTS or (found := find_experiment(client, name)) is None:
            raise
        return found  # another sweep was first


def find_experiment(client: MlflowClient, name: str) -> str | None:
    """Return the id of an MLflow experiment; None if there is none.

    Raises:
        Refused: it was deleted, and its name is taken until `mlflow gc`.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise Refused(
            f"tracking.experiment: {name} was deleted in MLflow; restore it (mlflow experiments "
            f"restore --experiment-id {found.experiment_id}), or name another: "
            "tracking.experiment=OTHER"
        )
    return str(found.experiment_id)


class Refused(UserError):
    """The store answers, and refuses: without a change by somebody it will go on to."""


@contextmanager
def answering(uri: str, option: str = "tracking.uri", then: str = "") -> Iterator[None]:
    """Convert exceptions of MLflow and its stores into one message.

    Args:
        option: that named it.
        then: the remedy, if it is not just to try again.

    Raises:
        UserError: the store does not answer, or it is none.
        Refused: it does not let us.
    """
    require_mlflow(uri, option)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of many kinds
        raise does_not_answer(uri, error, option, then) from None


def does_not_answer(
    uri: str, error: Exception, option: str = "tracking.uri", then: str = ""
) -> UserError:
    """Return the error for a store that does not answer, or refuses; hide a password in it."""
    if isinstance(error, StorageAway):  # of what was to be sent to MLflow
        return error
    why = reason(error, uri)
    store = f"{option}: MLflow at {shown(uri)}"
    if refusal := _refusal(error, why):
        return Refused(f"{store} {refusal} [{why}]" + (f"; then: {then}" if then else ""))
    if CUT_MIGRATION in why:
        then = "a change of its tables was cut short: go back to a copy, or remove it if it is new"
    said = f"{store} does not answer: {why}"
    return UserError(f"{said}; {then}" if then else said)


def _refusal(error: Exception, why: str) -> str:
    """Return what a store refuses, with the remedy; empty where it just does not answer."""
    if any(sign in str(error) for sign in TLS):
        return (
            "has no certificate that this machine trusts, or wants one of ours: set "
            "MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the authority that signed it, "
            "MLFLOW_TRACKING_CLIENT_CERT_PATH to our own, or write http:// if it has none"
        )
    status = status_of(error)
    if status == 401:
        names = [name for name in CREDENTIALS if os.environ.get(name)]
        cause = f"{' and '.join(names)}: wrong here, or expired" if names else "none of them is set"
        return (
            "does not know us (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            f"MLFLOW_TRACKING_TOKEN, where the sweep's driver runs ({cause})"
        )
    if status not in (403, 409):
        return ""
    if any(part in why for part in ("registered-models", "model-versions", "Registered Model")):
        return (
            f"has a registered model of this name, which is not ours to write ({status}): ask its "
            "owner for the permission EDIT, or register another, also on resume: "
            "tracking.model=OTHER"
        )
    if "artifact" in why:
        return (
            f"takes no artefacts from us ({status}): ask for the permission EDIT on the "
            "experiment, or name another: tracking.experiment=OTHER; where clients write to the "
            "artefact store themselves, give this machine its credentials"
        )
    return (
        f"has an experiment of this name, which is deleted or not ours to write ({status}): ask "
        "its owner for the permission EDIT, or name another: tracking.experiment=OTHER"
    )


def status_of(error: Exception) -> int:
    """Return the HTTP status of a refusal, as MLflow's errors have it in several ways; else 0."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    code = str(getattr(error, "error_code", ""))
    told = re.search(r"error code (\d{3}) ", str(error))  # of a server, or of a proxy before it
    return REFUSALS.get(code) or (int(told[1]) if told else 0)
