"""Prometheus scrapes a running sweep; the dashboard's queries return data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import local
from cluster.state import STATE_FILE, load
from tests.shell import BIN, call, free_port
from tests.small import small_language, small_store, small_sweep

MONITORING = Path(__file__).parents[3] / "cluster" / "monitoring"
PANELS: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
HERE_WITHOUT_DATA = ("GPU", "pending")  # no GPU; no autoscaler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus (Debian: prometheus)"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A running sweep on two nodes."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store = small_store(tmp_path / "store")
    small_language(tmp_path / "language", store)
    sweep = small_sweep(tmp_path / "store", tmp_path / "language")
    sweep["base"]["train"]["epochs"] = 400
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    port, env = str(free_port()), dict(os.environ)
    try:
        call("c2vl-cluster", "up", "--nodes", "2", "--dashboard-port", port, cwd=tmp_path, env=env)
        state = load(tmp_path / STATE_FILE)
        assert state is not None
        env |= {"RAY_ADDRESS": state.gcs, "RAY_AUTH_MODE": "token"}
        with (tmp_path / "sweep.log").open("w") as log:
            sweeping = subprocess.Popen(
                [BIN / "c2vl-sweep", "run", "sweep.yaml"],
                cwd=tmp_path, env=env, stdout=log, stderr=log,
            )  # fmt: skip
        yield tmp_path
        sweeping.terminate()
        sweeping.wait(60)
    finally:
        local.down(tmp_path / STATE_FILE)


def test_the_dashboards_queries_return_data(folder: Path) -> None:
    state = load(folder / STATE_FILE)
    assert state is not None
    config = (MONITORING / "prometheus.yml").read_text().replace("/tmp/ray", state.temp_dir)
    (folder / "prometheus.yml").write_text(config.replace("10s", "2s"))
    port = free_port()
    with (folder / "prometheus.log").open("w") as log:
        prometheus = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip

    def ask(query: str) -> list[Any]:
        query = urllib.parse.quote(query.replace("$sweep", ".*"))
        url = f"http://127.0.0.1:{port}/api/v1/query?query={query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
            return found

    queries = {target["expr"]: panel["title"] for panel in PANELS for target in panel["targets"]}
    wanted = [
        q for q, title in queries.items() if not any(w in title + q for w in HERE_WITHOUT_DATA)
    ]
    assert len(wanted) == 6
    wanted.append('sum(rate(ray_c2vl_epochs_total{sweep="small"}[1m])) > 0')
    try:
        deadline, missing = time.monotonic() + 150, wanted
        while missing and time.monotonic() < deadline:
            time.sleep(3)
            try:
                missing = [query for query in wanted if not ask(query)]
            except OSError:
                continue  # Prometheus is starting
        assert not missing, (folder / "sweep.log").read_text()
        print("\n" + "\n".join(f"{len(ask(query))} series: {query}" for query in wanted))
    finally:
        prometheus.terminate()
        prometheus.wait(20)
