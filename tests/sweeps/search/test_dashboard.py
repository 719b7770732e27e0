"""Optuna Dashboard on the study of a finished sweep, as it is."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import optuna_dashboard
import pytest

pytestmark = pytest.mark.ray


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_dashboard_shows_the_study(finished: tuple[Path, str]) -> None:
    uri = f"sqlite:///{finished[0] / 'sweeps/small/study.db'}"
    app = optuna_dashboard.wsgi(optuna.storages.RDBStorage(uri))
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def get(path: str) -> Any:
            return json.load(urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=60))

        (study,) = get("/api/studies")["study_summaries"]
        assert study["study_name"] == "small" and study["directions"] == ["minimize"]
        trials = get(f"/api/studies/{study['study_id']}?after=0")["trials"]
        server.shutdown()
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned", "Complete"]
    assert [len(trial["intermediate_values"]) for trial in trials] == [4, 1, 4]
    assert {param["name"] for param in trials[0]["params"]} == {
        "optim.lr",
        "objective.temperature",
    }
