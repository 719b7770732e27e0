"""A small experiment over the demo store, with concepts taken from the motion itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2vl.config import Experiment, from_dict, override
from c2vl.prompts.concepts import ConceptTable
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store


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


@pytest.fixture
def experiment(demo_store: Store, language: Path) -> Any:
    """Build a small experiment, with dotted changes."""

    def make(**changes: Any) -> Experiment:
        base = {
            "name": "small",
            "data": {"store": str(demo_store.path), "frames": 16, "validation_folds": 2},
            "prompts": {"language": str(language), "per_sample": 3},
            "model": {"hidden": 4, "feature": 16, "dropout": 0.2},
            "optim": {"lr": 0.05},
            "train": {"epochs": 3, "batch_size": 8, "evaluate_every": 3, "checkpoint_every": 1},
        }
        dotted = {name.replace("__", "."): value for name, value in changes.items()}
        return from_dict(override(base, dotted))

    return make
