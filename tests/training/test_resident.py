"""Data kept on a device gives the batches that are read off the disk; so do shares of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.layout import get_layout
from c2vl.training import validation
from c2vl.training.batches import TrainingSet, stream_batches
from c2vl.training.learner import Learner

CPU = torch.device("cpu")


@pytest.mark.parametrize("stream", ["joint", "bone", "motion"])
def test_batches_of_resident_data(
    experiment: Any, language: Path, tmp_path: Path, stream: str
) -> None:
    """With every augmentation, prompts drawn of more, and sequences without any."""
    whole = ConceptTable.open(language)
    features = np.repeat(np.asarray(whole.features[20:], np.float32), 4, 1)
    features += np.random.default_rng(0).normal(size=features.shape)
    partial = write_table(
        tmp_path / "some", whole.ids[20:], features, modality="language", model="t"
    )
    vision = write_table(tmp_path / "all", whole.ids, whole.features, modality="vision", model="t")
    settings = experiment(
        data__stream=stream,
        data__augment={"noise": 0.01, "scale": 0.1, "mirror": 0.5, "joint_mask": 0.1},
        prompts__language=str(partial.path),
        prompts__missing="mask",
        prompts__normalise="whiten",
        prompts__vision=str(vision.path),
        objective__weights={"skeleton_vision": 1.0},
    )
    disk, resident = TrainingSet(settings), TrainingSet(settings)
    assert disk.move(CPU) == []
    assert resident.move(CPU, budget=1 << 30) == ["clips", "language", "vision"]
    batches = [list(stream_batches(source, 2, 6, 0)) for source in (disk, resident)]
    masked = 0
    for (a, _), (b, waited) in zip(*batches, strict=True):
        torch.testing.assert_close(a.x, b.x, rtol=0, atol=1e-6)
        for name, rows in a.concepts.items():
            torch.testing.assert_close(rows, b.concepts[name], rtol=0, atol=1e-6)
        assert torch.equal(a.slots[0], b.slots[0]) and torch.equal(a.labels, b.labels)
        masked += int((~b.has["language"]).sum())
        assert waited >= 0
    assert masked


def test_what_does_not_fit_stays_on_the_disk(experiment: Any) -> None:
    source = TrainingSet(experiment())
    assert source.move(CPU, budget=source.concepts["language"].nbytes) == ["language"]


def test_workers_embed_their_shares(experiment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TrainingSet(experiment())
    learner = Learner(experiment(), get_layout(source.layout.name), {"language": 24}, 3, 9, CPU)
    scored = validation.scored_rows(source)[:50]
    monkeypatch.setattr(validation, "scored_rows", lambda _: scored)
    wanted = validation.embedded(source, learner.student)
    shares: list[Tensor] = []

    def gathered(rows_nD: Tensor) -> Tensor:
        shares.append(rows_nD)
        return torch.cat([*shares, rows_nD.new_zeros((3 - len(shares)) * len(rows_nD), 16)])

    monkeypatch.setattr(validation, "gather", gathered)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    monkeypatch.setattr("torch.distributed.broadcast", lambda *_, **__: None)
    for rank in range(3):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        found = validation.embedded(source, learner.student)
    assert {len(share) for share in shares} == {-(-len(scored) // 3)} and len(scored) % 3
    np.testing.assert_allclose(found, wanted, atol=1e-5)
