"""A sweep at a URL: a server that refuses and is slow, drivers that are killed, empty caches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

from c2vl.encoder import load_encoder
from c2vl.support.remote import RemoteFolder
from sweeps.commands.main import sweep
from tests.faults.processes import digest, running, session, undisturbed, wait_until
from tests.object_storage import Proxy, Server
from tests.sweeps.stores import epochs, outcomes, runs, trials

AWAY = 5.0  # seconds


def stores(folder: Path) -> list[str]:
    """Words that name the stores of a sweep at a URL, files of this machine."""
    return [f"study=sqlite:///{folder}/study.db", f"tracking.uri=sqlite:///{folder}/runs/mlflow.db"]


def command(*words: object, code: int = 0) -> str:
    """Run ``c2vl-sweep`` in this process."""
    done = CliRunner().invoke(sweep, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def rows_at(server: Server, url: str, trial: str) -> int:
    """How many epochs of a trial are at the URL, asked past any proxy."""
    options = f"?endpoint_override=127.0.0.1:{server.port}&scheme=http"
    try:
        there = RemoteFolder(f"{url}/sweeps/small/trials/{trial}{options}")
        return there.read("metrics.jsonl").count(b"\n")
    except FileNotFoundError:
        return 0


def test_a_server_that_is_away_and_slow_costs_no_trial(
    bucket: str,
    proxy: Proxy,
    s3_server: Server,
    sweep_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"{bucket}/lab"
    words = [f"storage={url}", *stores(tmp_path), "final.seeds=[0,1]"]
    with running(sweep_file, *words, cwd=tmp_path) as process:
        wait_until(lambda: rows_at(s3_server, url, "small-0000") > 0, process)
        proxy.sick(503, AWAY)
        wait_until(lambda: rows_at(s3_server, url, "small-0001") > 0, process)
        proxy.rate = 1_000_000.0
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    asked = Counter(kind for kind, *_ in proxy.requests)
    print(f"\n{dict(asked)} requests for 3 trials and a final training")
    assert f"encoder: {url}/sweeps/small/encoder" in out and proxy.refused
    tracking = f"sqlite:///{tmp_path}/runs/mlflow.db"
    expected = {("FINISHED", "complete"): 2, ("FINISHED", "pruned"): 1}
    assert outcomes(tracking) == expected
    states = [trial.state for trial in trials(f"sqlite:///{tmp_path}/study.db")]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]

    monkeypatch.setenv("C2VL_CACHE", str(tmp_path / "another-machine"))
    where = ("--storage", url)
    assert "what the study says" in command("reconcile", "small", "--check", *where)
    now = json.loads(command("status", "small", "--json", *where))
    assert (now["complete"], now["pruned"], now["driven"]) == (2, 1, False)
    assert all(trial["seconds"] > 0 for trial in now["trials"])
    command("export", "small", tmp_path / "encoder", *where)
    there = RemoteFolder(f"{url}/sweeps/small")
    weights = (tmp_path / "encoder/encoder.safetensors").read_bytes()
    assert weights == there.read("encoder/encoder.safetensors")
    assert load_encoder(f"{url}/sweeps/small/encoder").card["provenance"]["sweep"] == "small"
    for line in ("best small", "watch small", "list", "compare small small-0002"):
        command(*line.split(), *where)
    assert command("report", "small", *where).strip() == f"{url}/sweeps/small/report"
    kept = Counter(name.split("/")[2] for name in there.files() if name.startswith("trials/"))
    assert kept["encoder"] == 8 and kept["checkpoints"] == 1  # of the best trial
    refused = CliRunner().invoke(
        sweep, ["run", str(sweep_file), f"storage={url}", *stores(tmp_path)]
    )
    assert "there is a sweep of this name" in str(refused.exception)
    command("delete", "small", "--yes", *where)
    assert not [name for name in there.files() if name != "lease"] and outcomes(tracking) == {}
    assert "no sweep there yet" in str(CliRunner().invoke(sweep, ["list", *where]).exception)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "moments"),
    [("driver", [("small-0000", 3), ("small-0001", 11)]), ("machine", [("small-0001", 3)])],
)
def test_killed_again_and_again_and_resumed_from_nothing(
    lost: str,
    moments: list[tuple[str, int]],
    bucket: str,
    proxy: Proxy,
    s3_server: Server,
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each start is another machine's: another cache, another lease."""
    url, tracking = f"{bucket}/lab", f"sqlite:///{tmp_path}/runs/mlflow.db"
    long = ["pruner.name=none", "train.epochs=12", "trials=2", "points=[]"]
    words = ["--or-resume", sweep_file, f"storage={url}", *stores(tmp_path), *long]
    for start, (trial, epoch) in enumerate(moments):
        cache = str(tmp_path / f"machine{start}")
        with running(*words, cwd=tmp_path, C2VL_CACHE=cache) as process:
            wait_until(lambda t=trial, e=epoch: rows_at(s3_server, url, t) >= e, process)
            if start == len(moments) - 1:
                proxy.sick(503, AWAY)  # also for the next one
            if lost == "machine":
                for one in session([process.pid]):
                    one.kill()
            process.kill()
            process.wait()
    monkeypatch.setenv("C2VL_CACHE", str(tmp_path / "last"))
    c2vl_sweep("run", *words, cwd=tmp_path)
    assert [t.state for t in trials(f"sqlite:///{tmp_path}/study.db")] == [TrialState.COMPLETE] * 2
    assert outcomes(tracking) == {("FINISHED", "complete"): 2}
    assert outcomes(tracking, "sweep") == {("FINISHED", "complete"): 1}
    there = RemoteFolder(f"{url}/sweeps/small")
    for name, run in runs(tracking, "trial").items():
        # each once; MLflow sorts by time, and that of a file from a URL is in whole seconds
        assert sorted(epochs(tracking, run)) == list(range(1, 13))
        rows = there.read(f"trials/{name}/metrics.jsonl").splitlines()
        assert [json.loads(row)["epoch"] for row in rows] == list(range(1, 13))
    assert "what the study says" in command("reconcile", "small", "--check", "--storage", url)
    assert "lease" not in there.files()
    place = tmp_path / "small-0001"
    place.mkdir()
    (place / "experiment.yaml").write_bytes(there.read("trials/small-0001/experiment.yaml"))
    (place / "encoder").mkdir()
    weights = there.read("trials/small-0001/encoder/encoder.safetensors")
    (place / "encoder/encoder.safetensors").write_bytes(weights)
    assert undisturbed(place, tmp_path / "undisturbed") == digest(place)
