"""Data that tests share: real captures where they are at hand, a small generated store always."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests share few cores

import numpy as np
import pytest
import yaml

from c2vl.prompts.concepts import ConceptTable
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.demo.generate import DemoSettings
from c2vl.skeletons.demo.store import prepare_demo
from c2vl.skeletons.store import Store
from tests.sweeps.command import start

_SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def _data(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, _SHARED / folder))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder of the data")
    return path


@pytest.fixture(scope="session")
def utd() -> Path:
    """The folder of UTD-MHAD (real Kinect captures)."""
    return _data("C2VL_UTD_MHAD", "utd_mhad")


@pytest.fixture(scope="session")
def ntu_lists() -> Path:
    """The folder with the sample names of NTU RGB+D."""
    return _data("C2VL_NTU_LISTS", "ntu_lists")


@pytest.fixture(scope="session")
def demo_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated ``.skeleton`` files of ``demo_store``."""
    return tmp_path_factory.mktemp("demo") / "raw"


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory, demo_raw: Path) -> Store:
    """A small generated store: every class by 4 subjects, once under each of 2 cameras (104)."""
    settings = DemoSettings(seed=1, subjects=4, cameras=2, replications=1, frames=(40, 50))
    out = tmp_path_factory.mktemp("stores") / "demo"
    return prepare_demo(out, settings, keep_raw=demo_raw).store


@pytest.fixture(scope="session")
def utd_store(tmp_path_factory: pytest.TempPathFactory, utd: Path) -> Store:
    """The prepared store of UTD-MHAD."""
    from c2vl.skeletons.prepare import prepare

    return prepare("utd-mhad", utd, tmp_path_factory.mktemp("stores") / "utd").store


@pytest.fixture(scope="session")
def language(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A concept table of random projections of the clips: it says something, without a label."""
    store = demo_store
    clips = load_clips(store, frames=16)
    draw = np.random.default_rng(0)
    windows = clips.x.reshape(len(store), clips.x.shape[1], 4, -1)[:, 0]
    features = windows @ draw.normal(size=(windows.shape[2], 24)) / 16
    out = tmp_path_factory.mktemp("concepts") / "language"
    ids = list(store.index["id"])
    ConceptTable.write(out, ids, features.astype(np.float32), modality="language", model="test")
    return out


@pytest.fixture(scope="session")
def sweep_values(demo_store: Store, language: Path) -> dict[str, Any]:
    """A sweep whose second trial learns nothing, so that it is pruned: nested mappings."""
    return {
        "name": "small",
        "base": {
            "data": {"store": str(demo_store.path), "frames": 16, "validation_folds": 2},
            "prompts": {"language": str(language), "per_sample": 3},
            "model": {"hidden": 4, "feature": 16, "temporal_kernel": 3},
            "train": {"epochs": 4, "batch_size": 8, "evaluate_every": 1, "checkpoint_every": 1},
        },
        "space": {
            "optim.lr": {"type": "float", "low": 1e-6, "high": 10.0, "log": True},
            "objective.temperature": {"type": "float", "low": 0.05, "high": 0.5, "log": True},
        },
        "points": [
            {"optim.lr": 0.001, "objective.temperature": 0.1},
            {"optim.lr": 1e-6, "objective.temperature": 0.1},
            {"optim.lr": 0.01, "objective.temperature": 0.1},
        ],
        "objectives": [{"metric": "loss", "direction": "minimize"}],
        "pruner": {"name": "asha", "min_epochs": 1, "reduction": 2},
        "trials": 3,
        "concurrency": 1,
    }


@pytest.fixture(scope="session")
def sweep_file(sweep_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("sweep") / "small.yaml"
    path.write_text(yaml.safe_dump(sweep_values), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def c2vl_sweep() -> Callable[..., CompletedProcess[str]]:
    """Run ``c2vl-sweep`` to its end."""

    def run(*words: object, cwd: Path, code: int = 0) -> CompletedProcess[str]:
        process = start(*words, cwd=cwd)
        try:
            out, _ = process.communicate(timeout=400)
        finally:
            if process.poll() is None:  # it hangs: it must not hold the machine after the test
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == code, out
        assert code == 0 or "Traceback" not in out, out
        return CompletedProcess(process.args, process.returncode, out, "")

    return run
