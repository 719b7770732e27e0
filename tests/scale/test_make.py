"""What the generator makes is a store with tables like any other."""

from __future__ import annotations

from pathlib import Path

from c2vl.config.reading import from_dict
from c2vl.training.batches import TrainingSet
from tests.scale.make import make_store, make_table
from tests.scale.measure import experiment


def test_a_made_store_is_trained_on(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 24 * 120)
    store.verify()
    for modality in ("language", "vision"):
        make_table(tmp_path / "s" / modality, store, modality, prompts=16, dim=8)
    source = TrainingSet(from_dict(experiment(store.path)))
    batch = source.batch(3)
    assert batch.x.shape == (64, 2, 50, 25, 3) and batch.present[:, 0].all()
    assert 0 < batch.present[:, 1].sum() < 64
    assert {name: rows.shape for name, rows in batch.concepts.items()} == {
        "language": (64, 8),
        "vision": (64, 8),
    }
