"""What we use of Ray beyond its public interface still does what we need."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS

from c2vl.support.ray_session import quiet_train
from sweeps.planning.ray_internals import (
    ADDED_BY_TUNE,
    ASKS_DASHBOARD,
    ENVIRONMENT,
    TRACKS_STATE,
    error_text,
    forgive_failure,
)
from sweeps.running.nodes_wanted import wanted

NO_FIGURES = {
    "config",
    "node_ip",
    "hostname",
    "date",
    "episodes_total",  # this and what follows only where a training reports it
    "timesteps_total",
    "timesteps_since_restore",
}


@pytest.mark.parametrize("name", sorted([*ENVIRONMENT, ASKS_DASHBOARD, TRACKS_STATE]))
def test_ray_still_reads_the_variable(name: str) -> None:
    root = Path(ray.__file__).parent
    places = [root / "_private", root / "tune", root / "air", root / "train"]
    code = (path for place in places for path in place.rglob("*.py"))
    assert any(name in path.read_text(encoding="utf-8", errors="replace") for path in code)


def test_what_tune_adds_to_a_report_is_known() -> None:
    assert set(AUTO_RESULT_KEYS) - NO_FIGURES <= ADDED_BY_TUNE


def test_a_failure_that_is_forgiven_is_not_counted() -> None:
    trial = Trial("one", stub=True, max_failures=1)
    trial.run_metadata.num_failures = 2
    assert not trial.should_recover()
    forgive_failure(trial)
    assert trial.num_failures == 1 and trial.should_recover()
    forgive_failure(trial)
    forgive_failure(trial)
    assert trial.num_failures == 0


def test_the_error_of_a_trial_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("one", stub=True)
    monkeypatch.setattr(Trial, "local_path", str(tmp_path))
    trial.run_metadata.error_filename = "error.txt"
    (tmp_path / "error.txt").write_text("Traceback: why")
    assert error_text(trial) == "Traceback: why"


def test_ray_train_says_only_what_is_wrong() -> None:
    import ray.train.v2.api.data_parallel_trainer  # noqa: F401  what makes its loggers

    assert quiet_train().log_level == "WARNING"
    names = [name for name in logging.root.manager.loggerDict if "ray/train" in name]
    names += [name for name in logging.root.manager.loggerDict if name.startswith("ray.train")]
    assert names
    assert all(logging.getLogger(name).getEffectiveLevel() >= logging.WARNING for name in names)


def test_the_autoscaler_tells_demand_and_launches_that_failed() -> None:
    from ray.autoscaler.v2.schema import (
        ClusterStatus,
        LaunchRequest,
        PlacementGroupResourceDemand,
        ResourceDemandSummary,
        ResourceRequestByCount,
    )
    from ray.autoscaler.v2.sdk import get_cluster_status

    assert next(iter(inspect.signature(get_cluster_status).parameters)) == "gcs_address"
    bundles = [ResourceRequestByCount({}, 2), ResourceRequestByCount({"CPU": 1.0, "GPU": 1.0}, 2)]
    demand = PlacementGroupResourceDemand(bundles, "")
    now = ClusterStatus(resource_demands=ResourceDemandSummary([demand]))
    assert wanted(ClusterStatus(), alone=True) == wanted(now, alone=False) == ""
    assert "with 1 CPU + 1 GPU; no type of node" in wanted(now, alone=True)
    failed = LaunchRequest("p3", "gpu", 1, LaunchRequest.Status.FAILED, 0, details="no quota")
    now.failed_launches.append(failed)
    assert wanted(now, alone=True).endswith("; no node of type gpu: no quota")
