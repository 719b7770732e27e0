"""The smallest data and the smallest sweep that show everything; shared by tests and campaign."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from c2vl.config import reading
from c2vl.config.experiment import Experiment
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.demo.generate import DemoSettings
from c2vl.skeletons.demo.store import prepare_demo
from c2vl.skeletons.store import Store
from sweeps.spec import reading as sweep_reading
from sweeps.spec.sweep import SweepSettings


def on_demo(values: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment's values over the demo's store and captions, where they name none."""
    data = {"store": "runs/stores/demo", **(values.get("data") or {})}
    prompts = {"language": "runs/stores/demo/language", **(values.get("prompts") or {})}
    return {**values, "data": data, "prompts": prompts}


def from_dict(values: dict[str, Any]) -> Experiment:
    """As the program's, :func:`on_demo`."""
    return reading.from_dict(on_demo(values))


def parse_sweep(values: dict[str, Any], what: str) -> SweepSettings:
    """As the program's, with a base :func:`on_demo`."""
    return sweep_reading.parse_sweep({**values, "base": on_demo(values.get("base", {}))}, what)


def small_store(out: Path, raw: Path | None = None) -> Store:
    """Generate a store: every class by 4 subjects, once under each of 2 cameras (104)."""
    settings = DemoSettings(seed=1, subjects=4, cameras=2, replications=1, frames=(40, 50))
    return prepare_demo(out, settings, keep_raw=raw).store


def without_classes(store: Store, out: Path, every: int) -> Store:
    """Copy a store in which one of so many sequences has no class."""
    shutil.copytree(store.path, out, ignore=shutil.ignore_patterns("cache"))
    index = pd.read_parquet(table := Store.open(out).data / "index.parquet")
    index.loc[::every, "label"] = -1
    index.to_parquet(table)
    return Store.open(out)


def small_language(out: Path, store: Store) -> Path:
    """Write a concept table of random projections of the clips: informative, without a label."""
    clips = load_clips(store, frames=16)
    draw = np.random.default_rng(0)
    x = clips.dense(np.arange(len(store)))
    windows = x.reshape(len(store), x.shape[1], 4, -1)[:, 0]
    features = windows @ draw.normal(size=(windows.shape[2], 24)) / 16
    ids = list(store.index["id"])
    write_table(out, ids, features.astype(np.float32), modality="language", model="test")
    return out


def small_sweep(store: Path, language: Path) -> dict[str, Any]:
    """Return a sweep whose second trial learns nothing, so that it is pruned: nested mappings."""
    return {
        "name": "small",
        "base": {
            "data": {"store": str(store), "frames": 16, "validation_folds": 2},
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
