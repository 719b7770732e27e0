"""An encoder with random weights over the demo store, and tasks made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2vl.encoder import Encoder, build, save_encoder
from c2vl.protocols.evaluate import Evaluation
from c2vl.protocols.task import Task
from c2vl.skeletons.store import Store
from tests.training.conftest import experiment

__all__ = ["experiment"]  # a fixture of the tests of training, used here too

ARCHITECTURE = {
    "hidden": 4,
    "feature": 16,
    "temporal_kernel": 3,
    "dropout": 0.0,
    "edge_importance": True,
}


def random_encoder(store: Store, stream: str = "joint", seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    card = {
        "layout": store.layout.to_dict(),
        "architecture": ARCHITECTURE,
        "preprocessing": {"frames": 16, "centre": True, "align": True},
        "stream": stream,
        "provenance": {"dataset": "demo (generated)", "seed": seed},
    }
    return Encoder(build(store.layout, ARCHITECTURE), card)


@pytest.fixture(scope="session")
def encoder_folder(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = random_encoder(demo_store)
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    save_encoder(folder, encoder.model, encoder.card)
    return folder


@pytest.fixture
def task(demo_store: Store) -> Task:
    """Two folds of two training subjects; class 0 of ``xsub`` is known, nothing is trained."""
    return Task(random_encoder(demo_store), demo_store, "xsub", k=2)


@pytest.fixture
def with_rows(task: Task) -> Callable[[Any], Task]:
    """A task whose features are given."""

    def make(rows: Any, **changes: Any) -> Task:
        made = replace(task, **changes)
        made.__dict__["rows"] = np.asarray(rows, np.float32)
        return made

    return make


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    return Evaluation(tmp_path / "results", {})


@pytest.fixture(autouse=True)
def _forgotten(own_parts_go: None) -> None:
    """Protocols that a test registers go with it."""
