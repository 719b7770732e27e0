"""A Ray that is started here: its processes know which of several on the machine is theirs."""

from __future__ import annotations

import os

import pytest
import ray

from c2vl.raysession import connected


@pytest.mark.ray
def test_its_processes_are_told_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connected(told=True, num_cpus=1, include_dashboard=False):
        own = ray.get_runtime_context().gcs_address
        asked = ray.remote(lambda: os.environ.get("RAY_ADDRESS"))
        with_more = asked.options(runtime_env={"env_vars": {"A": "1"}})
        assert ray.get([asked.remote(), with_more.remote()]) == [own, own]
