"""Exporting the winner, cut in the middle, to MLflow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from c2vl.encoder import load_encoder, save_encoder
from sweeps.choosing import export
from sweeps.choosing.final_choice import read_choice
from sweeps.spec.reading import read_sweep
from sweeps.tracking.tracker import Tracker
from tests.sweeps.stores import client

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]

LASTING = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # what MLflow sets for the whole process


@pytest.mark.parametrize("at", ["log_model_artifacts", "set_model_version_tag"])
def test_an_export_cut_in_the_middle_moves_no_alias(
    at: str, finished_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = finished_copy
    for name in LASTING:
        monkeypatch.delenv(name, raising=False)
    spec = read_sweep(storage, "small")
    final = read_choice(spec.folder)
    assert final is not None
    another = load_encoder(spec.folder / "encoder")  # other weights: a version of its own
    with torch.no_grad():
        next(another.model.parameters()).mul_(1.5)
    save_encoder(tmp_path / "another", another.model, another.card)
    tracker = Tracker(spec, (spec.folder / "id").read_text())
    with monkeypatch.context() as cut:
        cut.setattr(type(tracker.runs.client), at, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            export.publish(spec, final, tmp_path / "another", tracker.runs)
    reader = client(storage)
    assert str(reader.get_model_version_by_alias("small", "best").version) == "1"
    assert not list(spec.folder.path.glob("tmp*"))  # nothing half-written is left
    assert "@best" in export.publish(spec, final, tmp_path / "another", tracker.runs)
    best = reader.get_model_version_by_alias("small", "best")
    assert int(best.version) == len(reader.search_model_versions("name = 'small'"))
    assert best.tags["encoder_sha256"] == load_encoder(tmp_path / "another").card["weights_sha256"]
    tracker.finish("complete")
    assert [os.environ.get(name) for name in LASTING] == [None, None]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
