"""Measure protocols on the test part of a store of :mod:`tests.scale.make`.

    python -m tests.scale.protocols runs/scale/114k linear knn clustering few-shot raw-neighbours

Features are like a network's without embedding for an hour: an ST-GCN with random weights embeds a
sample, and every sequence gets its class's mean there and noise of the covariance within classes.
So solvers meet directions that are nearly collinear. Each protocol runs in a process of its own, of
one thread; a line has its CPU seconds, its peak of resident memory, and its figures.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from c2vl.encoder import Encoder, build
from c2vl.protocols.results import to_results
from c2vl.protocols.task import Task
from c2vl.registry import find
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store

SAMPLE = 4000


def made_task(path: Path) -> Task:
    """Return the test task of a store, with features."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    store = Store.open(path)
    card = {
        "layout": store.layout.to_dict(),
        "architecture": {"hidden": 16},
        "preprocessing": {"frames": 50, "centre": True, "align": True},
        "stream": "joint",
        "provenance": {"dataset": "generated", "seed": 0},
    }
    task = Task(Encoder(build(store.layout, {"hidden": 16}), card), store, "xsub", "test")
    kept = path / "features.npy"
    if not kept.exists():
        np.save(kept, _features(task))
    task.__dict__["rows"] = np.load(kept)
    return task


def _features(task: Task) -> NDArray[np.float32]:
    draw = np.random.default_rng(0)
    chosen = np.sort(draw.permutation(len(task.store))[:SAMPLE])
    clips = load_clips(task.store, **task.encoder.card["preprocessing"])
    rows = task.encoder.embed_clips(*clips.tensors(chosen)).astype(np.float64)
    labels = task.labels[chosen]
    means = np.stack([rows[labels == one].mean(0) for one in range(task.classes)])
    apart = rows - means[labels]
    values, directions = np.linalg.eigh(apart.T @ apart / len(apart))
    noise = draw.standard_normal((len(task.store), rows.shape[1]), np.float32)
    noise *= np.sqrt(values.clip(0)).astype(np.float32)
    return (noise @ directions.T.astype(np.float32) + means[task.labels]).astype(np.float32)


def run(path: Path, protocol: str, scored: int | None) -> None:
    """Run a protocol and print its line."""
    task, before = made_task(path), time.process_time()
    (whole,) = task.folds
    task.__dict__["folds"] = [replace(whole, scored=whole.scored[:scored])]
    outcomes = find("protocol", protocol).load()(task)
    rows = to_results(protocol, task, outcomes, who="made", options={}, test_scoring=1)
    cpu = time.process_time() - before
    # Not `ru_maxrss`, which a process inherits from the one that started it
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    said = ", ".join(f"{row.key} {row.value:.3f}" for row in rows)
    print(f"{protocol:<15} {cpu:7.1f} CPU s {peak:6.0f} MiB   {said}", flush=True)


def main() -> None:
    """Measure the protocols that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("protocols", nargs="+")
    parser.add_argument("--scored", type=int, help="sequences of the test part; default: all")
    given = parser.parse_args()
    task = made_task(given.store)
    sizes = len(task.split.train), given.scored or len(task.split.test)
    print("{} sequences to fit on, {} scored".format(*sizes), flush=True)
    for protocol in given.protocols:
        process = get_context("spawn").Process(
            target=run, args=(given.store, protocol, given.scored)
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
