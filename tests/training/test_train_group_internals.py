"""What keeps workers for the next trial needs of Ray Train's insides is still as it was."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from ray._private.state import GlobalState
from ray.train.v2._internal.execution.worker_group import WorkerGroup

from c2vl.config.experiment import TrainSettings
from c2vl.training import launch, train_group_internals
from c2vl.training.node_notice import draining_nodes


@pytest.mark.parametrize(
    "row", train_group_internals.SIGNATURES, ids=lambda row: f"{row[0].__name__}.{row[1]}"
)
def test_the_signature_is_as_it_was(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_group_internals, "SIGNATURES", (row,))
    monkeypatch.setattr(train_group_internals, "ATTRIBUTES", ())
    assert train_group_internals.changed() == ""


@pytest.mark.parametrize(
    "row", train_group_internals.ATTRIBUTES, ids=lambda row: f"{row[0].__name__}.{row[1]}"
)
def test_what_it_reads_is_there(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_group_internals, "SIGNATURES", ())
    monkeypatch.setattr(train_group_internals, "ATTRIBUTES", (row,))
    assert train_group_internals.changed() == ""


def test_another_release_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented trainer takes over, and says why."""
    assert launch.documented(TrainSettings()) == ""
    assert "false" in launch.documented(TrainSettings(reuse_workers=False))
    with monkeypatch.context() as patch:
        patch.setattr(WorkerGroup, "poll_status", lambda self, seconds: None)
        assert "WorkerGroup.poll_status(self timeout" in launch.documented(TrainSettings())
    with monkeypatch.context() as patch:
        patch.delattr(WorkerGroup, "abort")
        assert "WorkerGroup.abort" in launch.documented(TrainSettings())


def test_ray_tells_which_nodes_are_about_to_go() -> None:
    assert [*inspect.signature(GlobalState.get_draining_nodes).parameters] == ["self"]
    assert draining_nodes.__code__.co_consts.count("get_draining_nodes") == 1
