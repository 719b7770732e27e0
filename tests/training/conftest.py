"""A small experiment over the demo store, with concepts taken from the motion itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2vl.config.experiment import Experiment
from c2vl.config.reading import from_dict, override
from c2vl.skeletons.store import Store


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
