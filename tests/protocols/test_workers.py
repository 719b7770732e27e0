"""Protocols over a group of workers give what they give in one process."""

from __future__ import annotations

import multiprocessing
import socket
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from c2vl.protocols.linear import fit_path, sgd_hits
from c2vl.protocols.shared_linear import SharedPath
from c2vl.protocols.workers import ALONE, Share
from tests.probes.test_probes import Data, blobs

STRENGTHS = (0.1, 0.01, 0.001)


def data() -> Data:
    """Classes that overlap, in features of which two are the same: 61 rows, no worker's equal."""
    features, labels = blobs(61, noise=3.0)
    return np.hstack([features, features[:, :1]]), labels


def fitted(share: Share) -> dict[str, Any]:
    features, labels = data()
    path = fit_path if share.world == 1 else SharedPath(share)
    probes = list(path(features, labels, classes=4, strengths=STRENGTHS))
    known, query = blobs(61), blobs(40, seed=2)  # of a margin: lr 3.0 makes much of a rounding
    sgd = sgd_hits(*known, *query, classes=4, share=share)
    return {
        "scores": [probe.scores(features) for probe in probes],
        "weights": [probe.weight.numpy() for probe in probes],
        "sgd": sgd,
    }


def worker(rank: int, port: int, queue: Any = None) -> Any:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    try:
        found = fitted(Share(rank, 2))
    finally:
        dist.destroy_process_group()
    return found if queue is None else queue.put(found)


@pytest.mark.ray
def test_probes_of_two_workers_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real gloo group, this process and a fork of it."""
    monkeypatch.setattr("c2vl.protocols.linear.TOLERANCE", 1e-10)  # so that the optimum is met
    wanted = fitted(ALONE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    other = context.Process(target=worker, args=(1, port, queue), daemon=True)
    other.start()
    for found in (worker(0, port), queue.get()):
        for name in ("weights", "scores"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-6)
        for name, hits in wanted["sgd"].items():
            assert np.array_equal(found["sgd"][name], hits)
    other.join()
