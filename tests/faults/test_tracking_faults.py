"""What tracking comes through: a server that goes away."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from c2vl.training.run_folder import RunFolder
from tests.sweeps.command import start
from tests.sweeps.mlflow_server import Server
from tests.sweeps.stores import client, epochs, outcomes, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]

AWAY = 10.0  # seconds


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
