"""What stays of trials on storage, also after a kill at any point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c2vl.support.errors import UserError
from sweeps.choosing.disk_cleanup import DiskCleanup
from sweeps.search.trial_source import TrialSource
from sweeps.spec.training import End, Training
from tests.small import parse_sweep

VALUES = [0.5, 0.7, 0.6, 0.9, 0.8, 0.1]


def sweep(folder: Path, **changes: Any) -> Any:
    values = {
        "name": "s",
        "storage": str(folder),
        "space": {"optim.lr": {"type": "float", "low": 0.01, "high": 1.0}},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "trials": len(VALUES) + 1,
        **changes,
    }
    return parse_sweep(values, "s.yaml")


def trained(training: Training, value: float) -> dict[str, Any]:
    """Leave what a training leaves."""
    for name in ("checkpoints/step-00000001.pt", "encoder/encoder.json"):
        (training.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (training.folder / name).write_text("")
    row = {"epoch": 1, "knn_val": value}
    (training.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return row


def having(folder: Path, what: str) -> list[int]:
    return sorted(int(p.parent.name[-4:]) for p in folder.glob(f"sweeps/s/trials/*/{what}"))


@pytest.mark.parametrize("killed", [False, True])
def test_the_best_keep_theirs(killed: bool, tmp_path: Path) -> None:
    """One that is running keeps its checkpoint; a kill leaves too much until the next start."""
    spec = sweep(tmp_path, keep={"encoders": 3, "checkpoints": 2})
    source = TrialSource(spec, "i")
    cleanup = DiskCleanup(spec, [])
    for value in VALUES:
        training = source.next()
        assert training is not None
        row = trained(training, value)
        source.end(training, "complete", row)
        if not killed:
            cleanup.ended(training, End("complete"))
            assert len(having(tmp_path, "checkpoints")) <= 2
    running = source.next()
    assert running is not None
    trained(running, 0.0)
    if killed:
        assert len(having(tmp_path, "encoder")) == 7
        cleanup = DiskCleanup(spec, source.ended())
    else:
        cleanup.ended(running, End("interrupted"))
    assert having(tmp_path, "checkpoints") == [3, 4, 6]
    assert having(tmp_path, "encoder") == [1, 3, 4, 6]
    assert [training.number for training in cleanup.encoders()] == [3, 4, 1]
    source.end(running, "failed", {})
    cleanup.ended(running, End("failed"))
    assert having(tmp_path, "checkpoints") == [3, 4]


def test_the_candidates_encoders_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"keep\.encoders: 1 asked.*final\.candidates needs the 2"):
        sweep(tmp_path, keep={"encoders": 1}, final={"candidates": 2})
