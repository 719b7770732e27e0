"""Measure `c2vl train` from its start to its first step, without caches and with them.

    python -m tests.scale.measure runs/scale/28k runs/scale/114k --together 8
    python -m tests.scale.measure runs/scale/114k --validation 20

For each store (of :mod:`tests.scale.make`) a line: wall and CPU seconds, and the peak of a
process's own memory (anonymous pages; pages of mapped files are shared and the system's to drop).
Cold means no cache folder and no page of the store in memory. ``--together`` starts so many
trainings at once on warm caches, as the workers or trials of a node, and adds up their memory.
``--validation`` does so many steps and one whole validation instead, in this process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
import yaml

from c2vl.config.reading import from_dict
from c2vl.skeletons.store import read_manifest
from c2vl.training.batches import TrainingSet
from c2vl.training.learner import Learner
from c2vl.training.validation import embedded, validate


def experiment(store: Path) -> dict[str, object]:
    """Return a training on all of a store, in both modalities."""
    return {
        "data": {"store": str(store), "split": "xsub120"},
        "prompts": {"language": str(store / "language"), "vision": str(store / "vision")},
        "objective": {"weights": {"skeleton_language": 1.0, "skeleton_vision": 1.0}},
        "train": {"epochs": 1, "batch_size": 64, "checkpoint_steps": 1},
    }


def evict(folder: Path) -> None:
    """Drop a folder's files from the system's memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_steps(store: Path, together: int = 1) -> tuple[float, float, list[float]]:
    """Train until every process has done a step.

    Returns:
        Wall seconds, CPU seconds of all, and the peak own memory of each, MiB.
    """
    with tempfile.TemporaryDirectory(prefix="c2vl-scale-") as scratch:
        folder = Path(scratch)
        (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment(store.absolute())))
        command = [sys.executable, "-m", "c2vl", "train", str(folder / "experiment.yaml")]
        began = time.perf_counter()
        runs = [
            (psutil.Popen([*command, "--out", str(folder / str(number))], stdout=log, stderr=log))
            for number in range(together)
            for log in [(folder / f"{number}.log").open("w")]
        ]
        waiting, peaks, cpu = set(range(together)), [0.0] * together, [0.0] * together
        try:
            while waiting:
                for number in sorted(waiting):
                    process = runs[number]
                    if process.poll() is not None:
                        raise RuntimeError((folder / f"{number}.log").read_text())
                    peaks[number] = max(peaks[number], own_memory(process))
                    used = process.cpu_times()
                    cpu[number] = used.user + used.system
                    if any((folder / str(number)).glob("checkpoints/*")):
                        waiting.discard(number)
                time.sleep(0.02)
            wall = time.perf_counter() - began
        finally:
            for process in runs:
                process.kill()
                process.wait()
        return wall, sum(cpu), peaks


def own_memory(process: psutil.Process) -> float:
    """Return a process's anonymous memory, MiB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def validation(store: Path, steps: int) -> None:
    """Print CPU seconds of an epoch, as an estimate from some steps, and of a validation."""
    torch.set_num_threads(1)
    settings = from_dict(experiment(store))
    source = TrainingSet(settings)
    dims = {name: rows.shape[2] for name, rows in source.concepts.items()}
    learner = Learner(settings, source.layout, dims, 120, 10 * steps, torch.device("cpu"))
    for step in range(3):
        learner.step(source.batch(step), step)
    began = time.process_time()
    for step in range(3, 3 + steps):
        learner.step(source.batch(step), step)
    epoch = (time.process_time() - began) / steps * source.steps_per_epoch
    began = time.process_time()
    features = embedded(source, learner.student)
    embedding = time.process_time() - began
    figures = validate(source, learner.student, features)
    took = time.process_time() - began
    print(f"epoch of {len(source.pretrain)} sequences: {epoch:.0f} CPU s, from {steps} steps")
    print(f"validation: {took:.1f} CPU s, of these embedding {embedding:.1f}; {took / epoch:.1%}")
    print(", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


def main() -> None:
    """Print a line a store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--validation", type=int, default=0, metavar="STEPS")
    given = parser.parse_args()
    if given.validation:
        for store in given.stores:
            validation(store, given.validation)
        return
    print("sequences | start | wall s | CPU s | own memory MiB")
    for store in given.stores:
        number = read_manifest(store)["counts"]["sequences"]
        shutil.rmtree(store / "cache", ignore_errors=True)
        evict(store)
        for start, together in (("cold", 1), ("warm", 1), ("together", given.together)):
            if together:
                wall, cpu, peaks = first_steps(store, together)
                memory = f"{max(peaks):.0f}" + (f", all {sum(peaks):.0f}" if together > 1 else "")
                print(f"{number} | {start} | {wall:.1f} | {cpu:.1f} | {memory}", flush=True)


if __name__ == "__main__":
    main()
