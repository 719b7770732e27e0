"""A Ray that is started here, and one that is there: processes know which of them is theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from c2vl.support.ray_session import connected, default_temp_dir, fit_to_this_machine

STARTING = {"num_cpus": 1, "include_dashboard": False}
JOINS = """
import ray
from c2vl.support.ray_session import connected
with connected(starting={"num_cpus": 3, "include_dashboard": False}):
    print(ray.get_runtime_context().gcs_address, ray.cluster_resources()["CPU"])
"""


def test_a_home_that_cannot_be_written_and_a_long_tmpdir(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "")  # so that it is as before in the end
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/tmp/of-a-job")
    fit_to_this_machine()
    assert "RAY_AUTH_TOKEN" not in os.environ and default_temp_dir() == "/tmp/of-a-job/ray"
    monkeypatch.setenv("HOME", "/proc/1")  # nobody makes a folder there
    monkeypatch.setenv("TMPDIR", f"/tmp/{'x' * 40}")
    fit_to_this_machine()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64 and default_temp_dir() == "/tmp/ray"


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
