"""What tracking comes through: a server that goes away, an export that is cut in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from c2vl.encoder import load_encoder, save_encoder
from c2vl.training.run_folder import RunFolder
from sweeps.choosing import export
from sweeps.choosing.final_choice import read_choice
from sweeps.spec.reading import read_sweep
from sweeps.tracking.tracker import Tracker
from tests.sweeps.command import start
from tests.sweeps.mlflow_server import Server
from tests.sweeps.stores import client, epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]

AWAY = 10.0  # seconds
LASTING = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # what MLflow sets for the whole process


def test_a_server_that_goes_away_gets_every_point_later(sweep_file: Path, tmp_path: Path) -> None:
    store = tmp_path / "server"
    store.mkdir()
    server = Server(store)
    server.start()
    folder = tmp_path / "runs/sweeps/small/trials"
    words = [f"tracking.uri={server.uri}", "train.epochs=12", "pruner.name=none", "trials=2"]
    process = start("run", sweep_file, *words, "points=[]", cwd=tmp_path)
    try:
        deadline = time.monotonic() + 150
        while len(RunFolder(folder / "small-0000").rows()) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        server.kill()
        gone = time.monotonic()
        while not RunFolder(folder / "small-0001").done:  # training goes on without it
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(max(0.0, AWAY - (time.monotonic() - gone)))
        server.start()
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        server.kill()
    assert outcomes(store) == {("FINISHED", "complete"): 2}
    assert outcomes(store, "sweep") == {("FINISHED", "complete"): 1}
    for run in runs(store, "trial").values():
        assert epochs(store, run) == list(range(1, 13))  # each once, in order
    assert len(client(store).search_model_versions("name = 'small'")) == 1


@pytest.mark.parametrize("at", ["log_model_artifacts", "set_model_version_tag"])
def test_an_export_cut_in_the_middle_moves_no_alias(
    at: str,
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished = tmp_path_factory.getbasetemp() / "export-cut"
    if not finished.exists():
        finished.mkdir()
        c2vl_sweep("run", sweep_file, "trials=1", "points=[]", cwd=finished)
    shutil.copytree(finished / "runs", tmp_path / "runs")
    storage = tmp_path / "runs"
    for name in LASTING:
        monkeypatch.delenv(name, raising=False)
    spec = read_sweep(storage, "small")
    final = read_choice(spec.folder)
    assert final is not None
    another = load_encoder(spec.folder / "encoder")  # other weights: a version of its own
    with torch.no_grad():
        next(another.model.parameters()).mul_(1.5)
    save_encoder(tmp_path / "another", another.model, another.card)
    tracker = Tracker(spec, (spec.folder / "id").read_text())
    with monkeypatch.context() as cut:
        cut.setattr(type(tracker.runs.client), at, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            export.publish(spec, final, tmp_path / "another", tracker.runs)
    reader = client(storage)
    assert str(reader.get_model_version_by_alias("small", "best").version) == "1"
    assert not list(spec.folder.path.glob("tmp*"))  # nothing half-written is left
    assert "@best" in export.publish(spec, final, tmp_path / "another", tracker.runs)
    best = reader.get_model_version_by_alias("small", "best")
    assert int(best.version) == len(reader.search_model_versions("name = 'small'"))
    assert best.tags["encoder_sha256"] == load_encoder(tmp_path / "another").card["weights_sha256"]
    tracker.finish("complete")
    assert [os.environ.get(name) for name in LASTING] == [None, None]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
