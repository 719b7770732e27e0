"""A running sweep that is stopped from outside, and one that gets more trials."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from optuna.trial import TrialState

from c2vl.support.errors import Interrupted, UserError
from c2vl.training.run_folder import RunFolder
from sweeps import driver
from sweeps.commands.inspecting import watch
from sweeps.commands.records import reconcile
from sweeps.commands.running import extend, stop
from sweeps.running.stopping import ask_to_stop, stopping, wait_for_end
from sweeps.search.trial_source import TrialSource
from sweeps.spec.lock import holder, is_ours_to_signal, is_running, locked
from sweeps.spec.reading import dump_sweep
from sweeps.spec.sweep_folder import SweepFolder
from tests.small import parse_sweep
from tests.sweeps.command import start
from tests.sweeps.stores import epochs, outcomes, runs, trials

DRIVER = """
import sys
from pathlib import Path
from sweeps.search.trial_source import TrialSource
from sweeps.spec.lock import locked
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.running.stopping import stopping
folder = SweepFolder(Path(sys.argv[1]))
with locked(folder, "s", make=True), stopping(folder) as stop:
    print("drives", flush=True)
    while not stop:
        pass
    print(stop.reason, flush=True)
"""


@pytest.mark.parametrize(("host", "how"), [("", "signal"), ("elsewhere", "request")])
def test_a_driver_is_asked_by_a_signal_or_by_a_file(host: str, how: str, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "s")
    command = [sys.executable, "-c", DRIVER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "drives\n"
        who = holder(folder)
        assert who is not None and (who.pid, who.host) == (process.pid, socket.gethostname())
        assert is_ours_to_signal(folder, who)
        if host:  # as if it ran on another node, where no signal gets to
            (folder / "lock").write_text(f"process {process.pid} on {host}")
        asked = ask_to_stop(folder)
        assert asked is not None and asked.startswith(f"process {process.pid}")
        assert wait_for_end(folder, 20)
        assert process.communicate()[0] == f"{how}\n"
        assert not (folder / "stop").exists() and ask_to_stop(folder) is None
    finally:
        process.kill()


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("begun", [False, True])
def test_a_second_ctrl_c_says_how_to_go_on(begun: bool, tmp_path: Path) -> None:
    """The same command is refused, or adds trials once more, as soon as the sweep has begun."""
    space = {"optim.lr": {"type": "float", "low": 0.1, "high": 1.0}}
    spec = parse_sweep({"name": "s", "storage": str(tmp_path), "space": space}, "s.yaml")
    with pytest.raises(Interrupted) as told, driver._saying_how_to_go_on(spec) as begins:
        if begun:
            begins()
        _interrupt()
    assert ("c2vl-sweep resume s" in str(told.value)) == begun
    assert ("the same command again" in str(told.value)) != begun


def test_ctrl_c_ends_no_sweep_that_is_watched_or_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.report.watch.begun", _interrupt)
    told = CliRunner().invoke(watch, ["s", "--storage", str(tmp_path)]).exception
    assert isinstance(told, Interrupted) and "no longer watched" in str(told)
    space = {"optim.lr": {"type": "float", "low": 0.1, "high": 1.0}}
    spec = parse_sweep({"name": "s", "storage": str(tmp_path), "space": space}, "s.yaml")
    spec.folder.path.mkdir(parents=True)
    spec.folder.settings.write_text(dump_sweep(spec))
    monkeypatch.setattr("sweeps.running.stopping.ask_to_stop", lambda _: "process 1, by a signal")
    monkeypatch.setattr("sweeps.running.stopping.wait_for_end", _interrupt)
    told = CliRunner().invoke(stop, ["s", "--storage", str(tmp_path)]).exception
    assert isinstance(told, Interrupted) and "c2vl-sweep stop s" in str(told)


def test_a_number_that_another_process_has_now_gets_no_signal(tmp_path: Path) -> None:
    """The lock names a process that is not its holder: a file asks, nobody is hit."""
    folder = SweepFolder(tmp_path)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with locked(folder, "s", make=True), stopping(folder) as asked:
            folder.lock.write_text(f"process {bystander.pid} on {socket.gethostname()}")
            assert "by a file" in str(ask_to_stop(folder))
            deadline = time.monotonic() + 20
            while not asked:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert asked.reason == "request" and bystander.poll() is None
        assert not is_running(folder)
    finally:
        bystander.kill()


def test_a_driver_that_stops_already_is_left_to_it(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    with locked(folder, "s", make=True), stopping(folder) as asked:
        asked.request("failures")
        deadline = time.monotonic() + 20
        while (who := holder(folder)) is None or not who.stopping:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert str(ask_to_stop(folder)).endswith("already")
        with pytest.raises(UserError, match="is running already"), locked(folder, "s", make=True):
            pass


def test_a_longer_grid_has_the_points_that_were_left(tmp_path: Path) -> None:
    choices = {"type": "categorical", "choices": ["joint", "bone", "motion"]}
    values = {"name": "s", "storage": str(tmp_path), "space": {"data.stream": choices}}
    drawn = []
    for trials_asked in (2, 3):
        asked = {"sampler": {"name": "grid"}, "trials": trials_asked}
        source = TrialSource(parse_sweep({**values, **asked}, "s.yaml"), "identity")
        while (training := source.next()) is not None:
            drawn.append(training.values["data.stream"])
            source.end(training, "failed", {})
        source.close()
    assert drawn == choices["choices"]


@pytest.mark.ray
@pytest.mark.mlflow
def test_stopped_then_extended(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was cut off goes on, one trial is added, and none is run again."""
    storage = tmp_path / "runs"
    words = ["train.epochs=12", "train.evaluate_every=3", "pruner.name=none"]
    words += ["trials=1", "points=[]"]
    process = start("run", sweep_file, *words, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 150
        while len(RunFolder(storage / "sweeps/small/trials/small-0000").rows()) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        monkeypatch.chdir(tmp_path)
        out = CliRunner().invoke(stop, ["small"]).output
        assert process.wait(30) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert f"asked process {process.pid}" in out and "by a signal" in out
    assert "interrupted 1" in out and "c2vl-sweep resume small" in out
    # What cannot start changes nothing: the number asked for stays
    no_cluster = CliRunner().invoke(extend, ["small", "--trials", "1", "train.workers=3"])
    assert isinstance(no_cluster.exception, UserError)
    assert yaml.safe_load((storage / "sweeps/small/sweep.yaml").read_text())["trials"] == 1
    c2vl_sweep("extend", "small", "--trials", 1, cwd=tmp_path)
    assert yaml.safe_load((storage / "sweeps/small/sweep.yaml").read_text())["trials"] == 2
    assert [t.state for t in trials(storage)] == [TrialState.COMPLETE] * 2
    assert outcomes(storage) == {("FINISHED", "complete"): 2}
    assert outcomes(storage, "sweep") == {("FINISHED", "complete"): 1}
    found = runs(storage, "trial")
    assert [found[f"small-000{i}"].data.tags["attempts"] for i in (0, 1)] == ["2", "1"]
    for run in found.values():
        assert epochs(storage, run) == list(range(1, 13))
    assert "says what the study says" in CliRunner().invoke(reconcile, ["small"]).output
