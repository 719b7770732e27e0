"""A sweep file over the small store, and the command line as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2vl.skeletons.store import Store

Run = subprocess.CompletedProcess[str]


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


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """Start ``c2vl-sweep`` in a process group of its own."""
    command = [str(Path(sys.executable).with_name("c2vl-sweep")), *map(str, words)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="session")
def c2vl_sweep() -> Callable[..., Run]:
    """Run ``c2vl-sweep`` to its end."""

    def run(*words: object, cwd: Path, code: int = 0) -> Run:
        process = start(*words, cwd=cwd)
        out, _ = process.communicate(timeout=280)
        assert process.returncode == code, out
        assert code == 0 or "Traceback" not in out, out
        return Run(process.args, process.returncode, out, "")

    return run
