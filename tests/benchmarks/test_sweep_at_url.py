"""A sweep at a URL beside one in a folder: ``make bench ARGS=-ksweep_at_url``.

The server is moto, a process of Python on this machine; its own CPU is not counted, wall time is
mostly its.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from c2vl.config.experiment import Experiment
from c2vl.config.reading import from_dict, override
from c2vl.support.remote import Location
from c2vl.training.launch import fit
from tests.object_storage import Proxy
from tests.sweeps.command import start

TRIALS, ROUNDS, EPOCHS = 8, 2, 4
LIMIT = 1.5
"""Of the driver's CPU in a folder: with so few trials its start is most of it."""


def driver(*words: object, cwd: Path) -> float:
    """Run a sweep; return the CPU seconds of its driver, without those of Ray's processes."""
    process, used = start("run", *words, cwd=cwd), 0.0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            times = watched.cpu_times()
        except psutil.Error:
            break
        used = max(used, times.user + times.system)
        time.sleep(0.05)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return used


@pytest.mark.slow
def test_driver(sweep_file: Path, tmp_path: Path, proxy: Proxy, bucket: str) -> None:
    words = [f"trials={TRIALS}", "points=[]", "pruner.name=none", "train.epochs=4"]
    words += [f"tracking.uri=sqlite:///{tmp_path}/runs/mlflow.db"]
    asked: list[int] = []
    used: dict[str, float] = {}
    for place, storage in (("folder", str(tmp_path / "runs")), ("url", f"{bucket}/lab")):
        proxy.requests = []
        own = [f"name={place}", f"storage={storage}", f"study=sqlite:///{tmp_path}/{place}.db"]
        used[place] = driver(sweep_file, *words, *own, cwd=tmp_path)
        kinds = {kind for kind, *_ in proxy.requests}
        asked = [sum(one[0] == kind for one in proxy.requests) for kind in sorted(kinds)]
    more = (used["url"] - used["folder"]) / TRIALS
    print(f"\ndriver of {TRIALS} trials; load {os.getloadavg()[0]:.1f}")
    print(f"folder {used['folder']:.1f} CPU s, URL {used['url']:.1f} CPU s", end=": ")
    print(f"{used['url'] / used['folder']:.2f} ×, {more:.2f} CPU s a trial more")
    print(f"requests of all processes: {dict(zip(sorted(kinds), asked, strict=True))}")
    assert used["url"] < LIMIT * used["folder"]


@pytest.mark.slow
def test_checkpoints_of_a_trial(
    sweep_values: dict[str, Any], tmp_path: Path, proxy: Proxy, bucket: str
) -> None:
    """A training of its own, in this process, that writes a checkpoint each epoch."""
    changes = {"train.epochs": EPOCHS, "name": "t"}
    settings: Experiment = from_dict(override(sweep_values["base"], changes))
    fit(settings, tmp_path / "first", name="t")
    times: dict[str, list[tuple[float, float]]] = {"folder": [], "url": []}
    for number in range(ROUNDS):
        places: dict[str, Location] = {
            "folder": tmp_path / f"run{number}",
            "url": f"{bucket}/run{number}",
        }
        for name, place in places.items():
            proxy.requests = []
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            fit(settings, place, name="t")
            after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times[name].append((wall, cpu))
        shutil.rmtree(tmp_path / f"run{number}")
    (wall, cpu), (more_wall, more_cpu) = (
        (min(one[0] for one in found), min(one[1] for one in found)) for found in times.values()
    )
    sent = sum(one[0] == "PUT" for one in proxy.requests)
    print(f"\na training of {EPOCHS} epochs, a checkpoint each; load {os.getloadavg()[0]:.1f}")
    print(f"folder {wall:.2f} s wall, {cpu:.2f} CPU s; URL {more_wall:.2f} s, {more_cpu:.2f} CPU s")
    print(
        f"{(more_wall - wall) / EPOCHS:.3f} s wall, {(more_cpu - cpu) / EPOCHS:.3f} CPU s an epoch"
    )
    print(f"{len(proxy.requests)} requests, {sent} of them PUT")
