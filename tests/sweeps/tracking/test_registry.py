"""Promotion by rule, encoders fetched from MLflow, and rows of evaluations logged there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.evaluate import evaluate
from c2vl.encoder import load_encoder, save_encoder
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from sweeps.choosing.export import save_pyfunc
from sweeps.commands.outputs import promote as command
from sweeps.tracking.mlflow_store import open_client
from sweeps.tracking.protocol_results import DIGEST, EXPERIMENT
from sweeps.tracking.registry import BEST, CANDIDATE, Standing, current, fetch, may_replace, promote
from tests.protocols.conftest import random_encoder

pytestmark = pytest.mark.mlflow


def standing(value: float, **changes: Any) -> Standing:
    facts = {"metric": "knn_val", "direction": "maximize", "data": "a xsub"} | changes
    return Standing(value, **facts)


def test_the_rule() -> None:
    assert may_replace(standing(0.9), None)[0]
    assert may_replace(standing(0.9), standing(0.8))[0]
    assert may_replace(standing(0.8), standing(0.8))[0]
    assert not may_replace(standing(0.7), standing(0.8))[0]
    low = {"direction": "minimize", "metric": "loss"}
    assert may_replace(standing(0.7, **low), standing(0.8, **low))[0]
    for other in ({"metric": "loss"}, {"data": "b xsub"}):
        assert may_replace(standing(0.9), standing(0.1, **other)) == (
            False,
            "chosen by another metric or on other data",
        )
    assert not may_replace(None, standing(0.1))[0]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def test_versions_are_promoted(uri: str) -> None:
    client = open_client(uri)
    client.create_registered_model("m")

    def add(found: Standing | None) -> str:
        tags = found.tags() if found else {}
        return str(client.create_model_version("m", "/nowhere", tags=tags).version)

    def best() -> str:
        version = current(client, "m", BEST)
        assert version is not None
        return str(version.version)

    first, worse, better, other = (
        add(s) for s in (standing(0.8), standing(0.7), standing(0.9), standing(1, data="b"))
    )
    assert promote(client, "m", first) == "models:/m@best (version 1)"
    said = promote(client, "m", worse)
    assert "best stays version 1: knn_val 0.7000 against 0.8000" in said and best() == first
    assert current(client, "m", CANDIDATE) is None  # who asks to promote is no candidate by that
    client.set_registered_model_alias("m", CANDIDATE, other)
    promote(client, "m", better)
    assert best() == better
    assert "other data" in promote(client, "m", other) and best() == better

    def run(*words: str) -> Any:
        return CliRunner().invoke(command, ["m", *words, "--uri", uri])

    assert "best stays" in run().output and best() == better
    assert run("--force").output == f"models:/m@best (version {other})\n" and best() == other
    assert "has no version 99" in str(run("--version", "99").exception)
    away = CliRunner().invoke(command, ["m", "--uri", "http://127.0.0.1:9"])
    assert "does not answer" in str(away.exception)
    unknown = CliRunner().invoke(command, ["nobody", "--uri", uri])
    assert isinstance(unknown.exception, UserError)


def test_nothing_is_made_where_nothing_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"), fetch("models:/m@best"):
        pass
    assert not list(tmp_path.iterdir())


def test_encoders_come_out_of_mlflow(
    uri: str, demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By run id, by a path in a run, by a registered model's alias: the same features."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    encoder = random_encoder(demo_store, seed=4)
    save_encoder(tmp_path / "encoder", encoder.model, encoder.card)
    client = open_client(uri)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "art").as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_artifacts(run, str(tmp_path / "encoder"), "encoder")
    save_pyfunc(tmp_path / "encoder", tmp_path / "model")
    client.create_registered_model("served")
    client.create_model_version("served", str(tmp_path / "model"))
    client.set_registered_model_alias("served", "best", "1")
    wanted = encoder.embed([demo_store.joints(0)])
    with warnings.catch_warnings(record=True) as said:
        mlflow.pyfunc.load_model("models:/served@best")
    assert not [line for line in said if "type hint" in str(line.message)]
    for source in (run, f"runs:/{run}/encoder", "models:/served@best", "models:/served/1"):
        assert np.array_equal(load_encoder(source).embed([demo_store.joints(0)]), wanted)
    with fetch("models:/served@best") as folder:  # the encoder alone, not its code and environment
        assert (folder / "encoder.json").exists() and not list(folder.parent.rglob("*.py"))
    for wrong in ("0" * 32, "runs:/nothing/encoder", "models:/served@worst", "models:/no@best"):
        with pytest.raises(UserError, match="not found in MLflow"):
            load_encoder(wrong)
    client.log_text(run, "x", "other/file.txt")
    with pytest.raises(UserError, match="holds no encoder"):
        load_encoder(f"runs:/{run}/other")

    # A row is a metric of the encoder's own run; the reading of the test part is counted there.
    words = ["knn", "models:/served@best", str(demo_store.path), "--split", "xsub"]
    words += ["--part", "test", "--folds", "2", "--out", str(tmp_path / "r")]
    words += ["--tracking-uri", uri]
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(evaluate, words)
    assert done.exit_code == 0, (done.output, done.exception)
    (logged,) = client.search_runs(
        [client.get_experiment_by_name(EXPERIMENT).experiment_id],
        f"tags.{DIGEST} = '{encoder.digest}'",
    )
    assert {"test/knn1", "test/knn20", "test/map"} <= set(logged.data.metrics)
    assert logged.data.metrics["test/scorings"] == 1
    assert (tmp_path / "r" / "test_scorings.jsonl").read_text().count("\n") == 1
    # Its files are beside the database; the working directory has the asked folder alone.
    beside = Path(uri.removeprefix("sqlite:///")).with_name("mlartifacts")
    assert logged.info.artifact_uri.startswith(beside.as_uri())
    assert client.list_artifacts(logged.info.run_id, "results")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "r"])
