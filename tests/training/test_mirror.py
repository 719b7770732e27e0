"""A run at a URL: killed, resumed on a machine that has nothing of it, by a server that is slow."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from c2vl.commands.train import train
from c2vl.config.reading import dump
from c2vl.skeletons.cache import Cache
from c2vl.support.errors import StorageAway, UserError
from c2vl.support.remote import RemoteFolder
from c2vl.training import mirror
from c2vl.training.launch import fit
from c2vl.training.metrics_file import MetricsFile
from c2vl.training.mirror import Mirror
from c2vl.training.run_folder import RunFolder
from tests.object_storage import Proxy

AWAY = 5.0  # seconds


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def epochs(text: bytes) -> list[int]:
    return [json.loads(line)["epoch"] for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.faults
def test_killed_and_resumed_elsewhere(
    experiment: Any, bucket: str, proxy: Proxy, tmp_path: Path
) -> None:
    settings = experiment(train__epochs=20, train__checkpoint_every=2, train__evaluate_every=10)
    fit(settings, tmp_path / "straight", name="straight")
    url, config = f"{bucket}/runs/cut", tmp_path / "small.yaml"
    config.write_text(dump(settings))
    there = RemoteFolder(url)
    words = [str(config), "--out", url]
    command = [sys.executable, "-m", "c2vl", "train", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 90
        while not any(name.startswith("checkpoints/") for name in there.files()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    left = there.files()
    assert "experiment.yaml" in left and "done.json" not in left
    cut = len(epochs(there.read("metrics.jsonl")))
    newest = max(name for name in left if name.startswith("checkpoints/"))
    assert 0 < cut < 20
    shutil.rmtree(tmp_path / "cache")  # another machine

    proxy.rate, proxy.requests = 2_000_000.0, []
    proxy.sick(503, AWAY)
    began = time.monotonic()
    done = CliRunner().invoke(train, words)
    assert done.exit_code == 0 and f"encoder: {url}/encoder" in done.output, done.output
    assert time.monotonic() - began > AWAY
    assert any(kind == "GET" and path.endswith(newest) for kind, path, _ in proxy.requests)
    sent = [path.partition("?")[0] for kind, path, _ in proxy.requests if kind == "PUT"]
    sent = [path for path in sent if not path.endswith("/")]  # PyArrow marks emptied folders
    assert sent[-1].endswith("done.json")
    assert epochs(there.read("metrics.jsonl")) == list(range(1, 21))
    weights = (tmp_path / "straight/encoder/encoder.safetensors").read_bytes()
    assert digest(there.read("encoder/encoder.safetensors")) == digest(weights)
    assert not any(name.startswith("checkpoints/") for name in there.files())
    assert not [one for one in Cache.of_node().entries() if one.kind == "mirror"]

    proxy.requests = []
    again = CliRunner().invoke(train, words)  # finished: nothing is trained or sent
    assert again.exit_code == 0 and not [kind for kind, *_ in proxy.requests if kind == "PUT"]
    other = CliRunner().invoke(train, [str(config), "optim.lr=0.5", "--out", url])
    assert isinstance(other.exception, UserError) and url in str(other.exception)
    assert "done.json" in there.files()


def test_a_server_that_stays_away_is_told_and_the_command_continues(
    experiment: Any, bucket: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, url = experiment(train__epochs=4, train__checkpoint_every=1), f"{bucket}/runs/away"
    monkeypatch.setattr(mirror, "PATIENCE", 1.0)

    def report(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            proxy.sick(503, 60)

    with pytest.raises(StorageAway, match=rf"{url}: no answer for .*AWS_ENDPOINT_URL"):
        fit(settings, url, name="away", on_report=report)
    proxy.sick(503, 0)
    seen: list[int] = []
    fit(settings, url, name="away", on_report=lambda row: seen.append(row["epoch"]))
    assert seen == [3, 4]
    assert epochs(RemoteFolder(url).read("metrics.jsonl")) == [1, 2, 3, 4]


def test_a_copy_takes_and_sends_what_is_a_runs_alone(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/shared"
    there = RemoteFolder(url)
    there.write("thesis.pdf", b"mine")
    there.write("experiment.yaml", b"a: 1")
    run = RunFolder.at(url)
    run.pull()
    assert run.settings.read_text() == "a: 1" and not (run.path / "thesis.pdf").exists()
    (run.path / "notes.txt").write_text("here")
    run.warn(["one"])
    run.send_figures()
    assert there.files().keys() == {"thesis.pdf", "experiment.yaml", "warnings.txt"}
    there.write("experiment.yaml", b"a: 2")  # in the same second, of the same size
    run.pull()
    assert run.settings.read_text() == "a: 2" and (run.path / "notes.txt").exists()
    there.delete("experiment.yaml")
    run.abandon(made=False)
    assert "thesis.pdf" in there.files() and not run.settings.exists()
    assert isinstance(run.mirror, Mirror)
    run.mirror.close(discard=True)
    assert not run.path.exists()


def test_an_older_file_of_figures_is_mended_from_the_checkpoint(tmp_path: Path) -> None:
    """A process that was thought lost may send its own file after a newer one was sent."""
    run = RunFolder(tmp_path)
    run.metrics.write_text('{"epoch": 1}\n')
    whole = MetricsFile(run.metrics, '{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert [row["epoch"] for row in whole.rows] == [1, 2]
    assert epochs(run.metrics.read_bytes()) == [1, 2]
    assert MetricsFile(run.metrics, '{"epoch": 1}\n').text() == run.metrics.read_text()
