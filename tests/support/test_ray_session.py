"""A Ray that is started here, and one that is there: processes know which of them is theirs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import ray

from c2vl.support.ray_session import connected

STARTING = {"num_cpus": 1, "include_dashboard": False}
JOINS = """
import ray
from c2vl.support.ray_session import connected
with connected(starting={"num_cpus": 3, "include_dashboard": False}):
    print(ray.get_runtime_context().gcs_address, ray.cluster_resources()["CPU"])
"""


@pytest.mark.ray
def test_which_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connected(told=True, starting=STARTING):
        own = ray.get_runtime_context().gcs_address
        asked = ray.remote(lambda: os.environ.get("RAY_ADDRESS"))
        with_more = asked.options(runtime_env={"env_vars": {"A": "1"}})
        assert ray.get([asked.remote(), with_more.remote()]) == [own, own]

        done = subprocess.run(
            [sys.executable, "-c", JOINS],
            env=os.environ | {"RAY_ADDRESS": own},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [own, "1.0"]  # not another Ray, and not with its cores
