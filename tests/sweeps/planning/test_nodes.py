"""What each node is asked, and the verdict with its remedies."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from c2vl.support.remote import RemoteFolder
from c2vl.support.versions import versions
from sweeps.planning.nodes import PACKAGES, NodeReport, inspect_node, problems_of

HERE = {"python": "3.11.7", "torch": "2.13.0", "c2vl": "0.1.0"}
ROOM = 10**9
GOOD = NodeReport("head", HERE, 10 * ROOM)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "driver").write_text("token")
    return tmp_path


def test_a_node_answers_in_the_shared_folder(root: Path) -> None:
    result = inspect_node("node1", "node1", str(root), "token")
    assert (root / "token" / "node1").read_text() == "token"
    assert result.problem == ""
    assert result.free_bytes > 0
    assert result.versions == versions(PACKAGES)
    assert {"python", "ray", "torch"} <= set(result.versions)


def test_a_node_answers_at_a_url(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = RemoteFolder(f"{bucket}/token")
    there.write("driver", b"token")
    assert inspect_node("node1", "node1", bucket, "token").problem == ""
    assert there.read("node1") == b"token"
    (problem,) = problems_of([inspect_node("n", "n", bucket, "none")], versions(PACKAGES))
    assert problem.startswith(f"node n: {bucket} is not what the driver sees: another endpoint")


def test_another_folder_at_the_same_path(tmp_path: Path) -> None:
    assert (
        "not the folder that the driver sees"
        in inspect_node("n", "n", str(tmp_path), "token").problem
    )


def test_a_folder_that_cannot_be_written(root: Path) -> None:
    (root / "token" / "node1").mkdir()  # writing fails for every user, root included
    assert "cannot be written" in inspect_node("node1", "node1", str(root), "token").problem


def test_data_at_a_url(root: Path, bucket: str) -> None:
    RemoteFolder(f"{bucket}/store").write("manifest.json", b"{}")
    reads = (f"{bucket}/store", f"{bucket}/none")
    result = inspect_node("node1", "node1", str(root), "token", reads)
    (problem,) = problems_of([result], versions(PACKAGES))
    assert problem.startswith(f"node node1: cannot read {bucket}/none; give the node the endpoint")


def test_little_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    problems = problems_of([inspect_node("n", "n", str(root), "token")], versions(PACKAGES), ROOM)
    assert len(problems) == 1
    assert "node n: 0.0 GB of disk free" in problems[0]
    assert "make room" in problems[0]


def test_nothing_to_say() -> None:
    assert problems_of([GOOD, replace(GOOD, node="node1")], HERE, ROOM) == []


def test_each_problem_names_node_and_remedy() -> None:
    old = replace(GOOD, node="old", versions=HERE | {"torch": "2.12.0"})
    bare = replace(GOOD, node="bare", versions={"python": "3.11.7", "torch": "2.13.0"})
    cut = NodeReport("cut", HERE, 0, "/shared is not the folder that the driver sees")
    deaf = replace(GOOD, node="deaf", seen=False)
    blind = replace(GOOD, node="blind", absent=("/data/store",))
    problems = problems_of([old, bare, cut, deaf, blind], HERE, ROOM)
    assert problems == [
        "node old: torch 2.12.0, the driver has 2.13.0; install requirements.lock on every node",
        "node bare: c2vl is missing, the driver has 0.1.0; install requirements.lock on every node",
        "node cut: /shared is not the folder that the driver sees; mount the same folder (NFS or "
        "the like) at that path on every node, or name another with storage (c2vl-cluster: --root)",
        "node deaf: what it wrote does not show at the driver; the folder is not shared, or its "
        "mount caches too long (NFS: mount with actimeo=1)",
        "node blind: cannot read /data/store; put it where every node reaches it, under the same "
        "path",
    ]
