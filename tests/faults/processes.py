"""Sweeps as processes: started, waited for, and killed in part; these processes and no others."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from c2vl.config.reading import load
from c2vl.training.launch import fit
from c2vl.training.run_folder import RunFolder
from tests.sweeps.command import start

PATIENCE = 200.0
ROLES = {
    "ray::ImplicitFunc": "trial",  # the process of a Tune trial
    "ray::TrainWorker": "worker",
    "ray::RayTrainWorker": "worker",  # of the documented trainer
}


@contextmanager
def running(*words: object, cwd: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start ``c2vl-sweep run`` with these words; whatever is left of it at the end is killed."""
    process = start("run", *words, cwd=cwd, **variables)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a condition, while a process goes on."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended before: {process.communicate()[0]}")
        assert time.monotonic() < deadline, "it did not get there"
        time.sleep(0.05)


def wait_for_epoch(process: subprocess.Popen[str], trial: Path, epoch: int) -> None:
    """Wait until a trial's folder has the figures of an epoch."""
    wait_until(lambda: len(RunFolder(trial).rows()) >= epoch, process)


def kill(process: subprocess.Popen[str]) -> None:
    """End the driver as a power cut would; its lock is free when this returns."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def digest(run: Path) -> str:
    """SHA-256 of a run's weights."""
    return hashlib.sha256((run / "encoder" / "encoder.safetensors").read_bytes()).hexdigest()


def undisturbed(run: Path, out: Path) -> str:
    """Train a run's experiment once more, in one go; return the SHA-256 of its weights."""
    fit(load(run / "experiment.yaml"), out, name="undisturbed")
    return digest(out)


def session(leaders: Iterable[int]) -> list[psutil.Process]:
    """All living processes of the sessions that these processes lead (or led)."""
    wanted, found = set(leaders), []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def role(process: psutil.Process) -> str:
    """What a process is to its sweep; empty where it is none of the parts that tests kill."""
    try:
        words = process.cmdline() or [""]
    except psutil.Error:
        return ""
    if Path(words[0]).name == "raylet":
        return "node"
    return next((name for title, name in ROLES.items() if words[0].startswith(title)), "")


def part(driver: subprocess.Popen[str], name: str) -> psutil.Process:
    """Wait for a part of a sweep on its own Ray; return its process."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = [process for process in session([driver.pid]) if role(process) == name]
        return bool(found)

    wait_until(there, driver)
    return min(found, key=lambda process: process.pid)
