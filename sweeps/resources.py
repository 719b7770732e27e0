"""Ray for a sweep: join or start a cluster, and know what fits on it before the first trial."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from c2vl.config import Experiment, TrainSettings
from c2vl.errors import UserError

Node = Mapping[str, float]
DRIVER_MEMORY = 2.0**28  # bytes; a request of nothing at all is refused by Ray
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A stopped trial ends at its next report; its process is then used again. If the machine is
    # busy this may take a while, and giving up costs the next trial.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
    # Checked once by us (see `slots`); Tune's own warnings would only repeat it.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # with it Tune prints a table even when told to be silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def cluster(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray: to ``address``, to RAY_ADDRESS (jobs have it), or to a local start.

    A connection that is there already is used and left as it is.

    Args:
        address: of a running cluster; "local" always starts one of its own.
        cpus: of a local start; default: all.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        # With the dashboard: its State API frees the CPUs of stopped worker groups.
        options |= {"include_dashboard": True, "num_cpus": cpus}
    else:
        options |= {"runtime_env": {"env_vars": ENVIRONMENT}}
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise UserError(f"no Ray cluster at {address}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def slots(nodes: list[Node], train: TrainSettings) -> int:
    """Return how many trainings fit at once.

    Args:
        nodes: resources of each living node ("CPU", "GPU").
        train: gives workers, CPUs and GPUs of one training.

    Raises:
        UserError: not even one fits; the message names what to lower.
    """
    needs = {"CPU": train.cpus_per_worker, "GPU": train.gpus_per_worker}
    workers = 0
    for node in nodes:
        fits = [
            math.floor(node.get(kind, 0.0) / each + 1e-9) for kind, each in needs.items() if each
        ]
        workers += min(fits)
    if workers < train.workers:
        have = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in needs}
        raise UserError(
            f"a trial needs {train.workers} worker(s) with {train.cpus_per_worker:g} CPU and "
            f"{train.gpus_per_worker:g} GPU each (train.workers, train.cpus_per_worker, "
            f"train.gpus_per_worker), and the cluster has {have['CPU']:g} CPU and "
            f"{have['GPU']:g} GPU on {len(nodes)} node(s): lower them, or join a larger cluster"
        )
    return workers // train.workers


def living_nodes() -> list[Node]:
    """Return the resources of each living node of the cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def require_state_api() -> None:
    """Check what frees the CPUs of a stopped trial's worker group.

    Raises:
        UserError: Ray's State API does not answer.
    """
    import ray
    from ray.util.state import list_nodes

    try:
        address = ray.get_runtime_context().gcs_address
        list_nodes(address=address, timeout=30, limit=1)
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(
            f"train.workers: Ray's State API does not answer ({reason}). Without it a stopped "
            "trial keeps its CPUs and the next one waits for ever: install ray[default] and start "
            "Ray with its dashboard, or set train.workers to 1"
        ) from None


def trial_resources(experiment: Experiment) -> list[dict[str, float]]:
    """Return the bundles of a trial's own process: a worker group brings its own."""
    train = experiment.train
    if train.workers > 1:
        return [{"CPU": 0.0, "memory": DRIVER_MEMORY}]
    gpu = {"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}
    return [{"CPU": train.cpus_per_worker, **gpu}]
