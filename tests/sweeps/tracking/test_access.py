"""A server with permissions: what it refuses is asked before the first trial, and told as such."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED
from mlflow.server import get_app_client

from sweeps.planning import preflight
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import End, Training
from sweeps.tracking import delivery
from sweeps.tracking.backlog import waiting
from sweeps.tracking.mlflow_store import CREDENTIALS, Refused, does_not_answer, open_client
from sweeps.tracking.tracker import Tracker
from tests.small import parse_sweep
from tests.sweeps.command import empty_store
from tests.sweeps.mlflow_server import Server
from tests.sweeps.stores import outcomes

pytestmark = pytest.mark.mlflow

ADMIN, PASSWORD = "admin", "planted-s3cret-{}-0123"
USERS = ("ann", "bob")


@dataclass(frozen=True)
class Lab:
    """A lab's MLflow server, its folder, and what its admin may do."""

    uri: str
    folder: Path
    admin: Any


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """MLflow's own server with basic auth: ann owns an experiment and a model, and bob reads."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(empty_store(), folder / "mlflow.db")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        f"admin_username = {ADMIN}\nadmin_password = {PASSWORD.format(ADMIN)}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"  # else each request hashes a password for half a second
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of a test",
    }
    server = Server(folder)
    try:
        server.start("--app-name", "basic-auth", **variables)
        with pytest.MonkeyPatch.context() as patch:
            _sign_in(patch, ADMIN)
            admin = get_app_client("basic-auth", tracking_uri=server.uri)
            for user in USERS:
                admin.create_user(user, PASSWORD.format(user))
            _sign_in(patch, "ann")
            open_client(server.uri).create_experiment("anns")
            open_client(server.uri).create_registered_model("anns")
        yield Lab(server.uri, folder, admin)
    finally:
        server.kill()


def _sign_in(patch: pytest.MonkeyPatch, user: str, password: str | None = None) -> None:
    for name in CREDENTIALS:
        patch.delenv(name, raising=False)
    patch.setenv("MLFLOW_TRACKING_USERNAME", user)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password or PASSWORD.format(user))


Sweep = Callable[..., SweepSettings]


@pytest.fixture
def sweep(
    lab: Lab, sweep_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Sweep:
    """Give bob's sweep in an experiment of his own, with some settings of tracking changed."""
    _sign_in(monkeypatch, "bob")
    monkeypatch.setattr(delivery, "PAUSES", (0.01, 0.02))

    def make(name: str = "bobs", **tracking: Any) -> SweepSettings:
        told = {"uri": lab.uri, "experiment": "bobs", "patience": 60, **tracking}
        storage = str(tmp_path / "runs")
        values = {**sweep_values, "name": name, "storage": storage, "tracking": told}
        spec = parse_sweep(values, "bobs.yaml")
        spec.folder.path.mkdir(parents=True, exist_ok=True)
        return spec

    return make


def test_each_refusal_is_told_before_the_first_trial_with_its_remedy(
    lab: Lab, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**tracking: Any) -> str:
        spec = sweep(**tracking)
        with pytest.raises(Refused) as validated:
            preflight.tracking(spec)
        with pytest.raises(Refused) as started:
            Tracker(spec, "identity")
        for said in (validated, started):
            assert "does not answer" not in str(said.value) and "s3cret" not in str(said.value)
            assert str(said.value).startswith(f"tracking.uri: MLflow at {lab.uri} ")
        return str(validated.value)

    client = open_client(lab.uri)
    bobs = client.create_experiment("bobs")
    said = refused(model="anns")
    assert "registered model" in said and "tracking.model=OTHER" in said and "EDIT" in said
    assert not client.search_runs([bobs])  # neither check left a run
    said = refused(experiment="anns")
    assert "experiment" in said and "(403)" in said and "tracking.experiment=OTHER" in said
    assert "takes runs and models" in preflight.tracking(sweep())
    assert not client.search_runs([bobs]) and not client.search_registered_models("name = 'bobs'")
    with pytest.raises(MlflowException) as taken:  # where a server hides what is another's
        client.create_registered_model("anns")
    said = str(does_not_answer(lab.uri, taken.value))
    assert "not ours to write (409)" in said and "tracking.model=OTHER" in said
    _sign_in(monkeypatch, "bob", "mistyped")
    said = refused()
    assert (
        "(401)" in said and "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD: wrong" in said
    )
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    assert "none of them is set" in refused()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "planted-s3cret-token")
    unknown = MlflowException("no", error_code=UNAUTHENTICATED)  # the cache of MLflow's own fails
    assert "MLFLOW_TRACKING_TOKEN: wrong here, or expired" in str(does_not_answer(lab.uri, unknown))
    secure = lab.uri.replace("http", "https")
    with pytest.raises(Refused, match=r"MLFLOW_TRACKING_SERVER_CERT_PATH .*MLFLOW_TRACKING_CLIENT"):
        preflight.tracking(sweep(uri=secure))
    body = "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>"
    nginx = MlflowException(f"API request failed with error code 400 != 200. Response body: {body}")
    assert "MLFLOW_TRACKING_CLIENT_CERT_PATH" in str(does_not_answer(lab.uri, nginx))


def training(spec: SweepSettings) -> Training:
    return Training("bobs-0000", spec.base, spec.folder / "trials/bobs-0000", number=0)


def test_a_password_that_changes_is_told_and_loses_nothing(
    lab: Lab,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """And no password is in any store, log, file or message, whatever an error's text brings."""
    secret = PASSWORD.format("bob")
    address = lab.uri.replace("://", f"://bob:{secret}@")
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    spec = sweep("rotated", uri=address, experiment="rotated")
    tracker = Tracker(spec, "rotated")
    tracker.begin({})
    one = training(spec)
    tracker.started(one, 1)
    tracker.flush()
    with monkeypatch.context() as patch:
        _sign_in(patch, ADMIN)
        lab.admin.update_user_password("bob", "another-password-1")
    tracker.ended(one, End("failed", error=f"requests.HTTPError: 403 for {address}/api"))
    with pytest.raises(Refused, match=r"\(401\)"):
        tracker.flush()
    began = time.monotonic()
    left = tracker.finish("complete")
    assert "2 runs wait" in left and "(401)" in left and waiting(spec.folder) == 2
    assert time.monotonic() - began < spec.tracking.patience / 2  # waiting would not help
    with pytest.raises(Refused):  # a resume says so at once
        Tracker(spec, "rotated", must_answer=False)
    with monkeypatch.context() as patch:
        _sign_in(patch, ADMIN)
        lab.admin.update_user_password("bob", secret)
    again = Tracker(spec, "rotated", must_answer=False)
    assert again.finish("complete") == "" and waiting(spec.folder) == 0
    _sign_in(monkeypatch, "bob")
    assert outcomes(lab.uri)["FAILED", "failed"] == 1
    texts = [caplog.text, left, *map(str, caplog.records), *capfd.readouterr()]
    files = [*spec.storage.rglob("*"), *lab.folder.rglob("*")]
    texts += [file.read_text(errors="replace") for file in files if file.is_file()]
    assert len(texts) > 10
    found = [text for text in texts if secret in text]
    assert not found, found[0][:2000]
