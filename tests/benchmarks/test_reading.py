"""Reading and preparing, side by side with the usual ways: ``make bench ARGS=-kreading``."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from c2vl.config.reading import from_dict
from c2vl.skeletons.demo.ntu_files import TrackedBody, skeleton_text
from c2vl.skeletons.formats.ntu_text import parse
from c2vl.skeletons.preparing.prepare import prepare
from c2vl.skeletons.store import COLUMNS, FORMAT, Store, content_checksum
from c2vl.training.batches import TrainingSet
from c2vl.training.learner import Learner
from tests.benchmarks.plain_ntu import read_xyz

FILES, FRAMES = 20, 90
PARSE_TARGET, PROCESSES_TARGET, OPEN_TARGET, READ_TARGET = 6.0, 1.7, 1.0, 10.0
MANY, MOST_BYTES = 50_000, 1 << 30


def write(path: Path, seed: int, frames: int = FRAMES) -> None:
    """One person all along and, in one file of five, a second one for half of the time."""
    rng = np.random.default_rng(seed)
    bodies = []
    for person in range(2 if seed % 5 == 0 else 1):
        length = frames // (1 + person)
        shape = rng.uniform(-1, 1, (25, 3)) * [0.25, 0.9, 0.15] + [person, 0, 3]
        joints = shape + np.cumsum(rng.normal(0, 0.01, (length, 25, 3)), axis=0)
        bodies.append(TrackedBody(72057594037931101 + person, np.arange(length), joints))
    path.write_text(skeleton_text(bodies, "\r\n"))


def best(call: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the fastest of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.slow
def test_reading_ntu_text(tmp_path: Path) -> None:
    paths = [tmp_path / f"S001C001P{number:03}R001A001.skeleton" for number in range(FILES)]
    for number, path in enumerate(paths):
        write(path, number)
    for path in paths[:6]:
        plain, tracks = read_xyz(path).astype(np.float32), parse(path.read_bytes())
        for slot, track in enumerate(tracks):
            ours = track.joints.transpose(2, 0, 1)
            assert np.array_equal(ours, plain[:, track.frames][..., slot])
    size = sum(path.stat().st_size for path in paths)
    ways: dict[str, Callable[[Path], object]] = {
        "plain line-by-line reader": read_xyz,
        "NumPy's text to float, unchecked": lambda path: np.fromstring(path.read_text(), sep=" "),
        "ours": lambda path: parse(path.read_bytes()),
        "the file's bytes alone": lambda path: path.read_bytes(),
    }
    seconds = dict.fromkeys(ways, np.inf)
    for _ in range(5):  # in turns, so that a noisy machine slows all of them
        for name, way in ways.items():
            took = best(lambda way=way: [way(path) for path in paths], rounds=1)
            seconds[name] = min(seconds[name], took)
    for name, took in seconds.items():
        print(f"\n{name}: {1e3 * took / FILES:.2f} ms a file, {size / took / 1e6:.0f} MB/s", end="")
    ratio = seconds["plain line-by-line reader"] / seconds["ours"]
    print(f"\nratio: {ratio:.1f} (target {PARSE_TARGET:g})")
    assert ratio >= PARSE_TARGET


@pytest.mark.slow
def test_reading_over_processes(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(200):
        write(raw / f"S001C001P{number:03}R001A001.skeleton", number)
    for number, copy in itertools.product(range(200), range(1, 100)):
        name = f"P{number:03}R001A001.skeleton"
        os.link(raw / f"S001C001{name}", raw / f"S{copy + 1:03}C001{name}")
    seconds = {}
    for jobs in (1, 2):
        began = time.perf_counter()
        prepare("ntu60", raw, tmp_path / "store", jobs=jobs, overwrite=True)
        took = time.perf_counter() - began
        seconds[jobs] = min(took, seconds.get(jobs, np.inf))
    for jobs, took in seconds.items():
        print(f"\n{jobs} processes: {took:.1f} s, {20_000 / took:.0f} sequences/s", end="")
    print(f"\nratio: {seconds[1] / seconds[2]:.2f} (target {PROCESSES_TARGET} on 2 free cores)")
    assert seconds[1] / seconds[2] >= PROCESSES_TARGET


@pytest.mark.slow
def test_reading_in_flat_memory(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(100):
        write(tmp_path / f"{number}.skeleton", number, frames=20)
    for number in range(MANY):
        setup, rest = divmod(number, 990 * 8)
        camera, person = divmod(rest, 990)
        name = f"S{setup + 1:03}C{camera + 1:03}P{person + 1:03}R001A001.skeleton"
        os.link(tmp_path / f"{number % 100}.skeleton", raw / name)
    script = (
        "import re, resource, sys; from pathlib import Path\n"
        "from c2vl.skeletons.preparing.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        "    store = prepare('ntu60', Path(sys.argv[1]), Path(sys.argv[2]), jobs=2).store\n"
        # its own peak: ru_maxrss begins with that of whoever started it
        "    status = Path('/proc/self/status').read_text()\n"
        "    print(int(re.search(r'VmHWM:\\s*(\\d+)', status)[1]) * 1024)\n"
        "    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
        "    print(len(store))\n"
    )
    (tmp_path / "run.py").write_text(script)
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, tmp_path / "run.py", raw, tmp_path / "store"],
        check=True,
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - began
    main, worker, count = map(int, result.stdout.split())
    print(f"\n{count} sequences in {took:.0f} s; at most {main / 1e6:.0f} MB in the main process, ")
    print(f"{worker / 1e6:.0f} MB in the largest reading one (limit {MOST_BYTES / 1e6:.0f})")
    assert count == MANY and max(main, worker) < MOST_BYTES


@pytest.mark.slow
def test_reading_a_large_store_opens_at_once(tmp_path: Path, demo_store: Store) -> None:
    import json

    count = 100_000
    table = {column: np.zeros(count, dtype=np.int64) for column in COLUMNS}
    index = pd.DataFrame(table).assign(
        id=[f"sequence {number}" for number in range(count)],
        source="somewhere",
        checksum="0" * 16,
        frames=1,
        bodies=1,
        offset=np.arange(count),
    )
    folder = tmp_path / "store" / "data-x"
    folder.mkdir(parents=True)
    index.to_parquet(folder / "index.parquet", index=False)
    np.save(folder / "joints.npy", np.zeros((count, 25, 3), dtype=np.float32))
    manifest = demo_store.manifest | {"format": FORMAT, "data": "data-x"}
    manifest["counts"] = manifest["counts"] | {"rows": count, "sequences": count}
    manifest["checksum"] = content_checksum(index, manifest)
    (tmp_path / "store" / "manifest.json").write_text(json.dumps(manifest))
    took = best(lambda: Store.open(tmp_path / "store"))
    print(f"\n{count} sequences: open in {took:.3f} s (target {OPEN_TARGET:g})")
    assert took < OPEN_TARGET


@pytest.mark.slow
def test_reading_batches_beside_training_on_them(demo_store: Store, language: Path) -> None:
    """An epoch's clips off the store, from disk to tensors, beside the steps that they feed."""
    torch.set_num_threads(1)
    experiment = from_dict(
        {
            "data": {"store": str(demo_store.path), "validation_folds": 2},
            "prompts": {"language": str(language), "per_sample": 4},
            "train": {"batch_size": 26, "epochs": 1},
        }
    )
    source = TrainingSet(experiment)
    steps = source.steps_per_epoch
    dims = {name: rows.shape[2] for name, rows in source.concepts.items()}
    learner = Learner(experiment, source.layout, dims, 13, steps, torch.device("cpu"))
    batches = [source.batch(step) for step in range(steps)]

    def train() -> None:
        for step, batch in enumerate(batches):
            learner.step(batch, step)

    seconds = {"training": np.inf, "reading": np.inf, "reading, augmented": np.inf}
    for _ in range(5):
        for name, way in (
            ("training", train),
            ("reading", lambda: [source.clips(source.rows(step)) for step in range(steps)]),
            ("reading, augmented", lambda: [source.batch(step) for step in range(steps)]),
        ):
            seconds[name] = min(seconds[name], best(way, rounds=1))
    samples = steps * source.batch_size
    for name, took in seconds.items():
        print(f"\n{name}: {samples / took:.0f} sequences/s", end="")
    ratio = seconds["training"] / seconds["reading"]
    print(f"\nratio: {ratio:.0f} (target {READ_TARGET:g})")
    assert ratio >= READ_TARGET
