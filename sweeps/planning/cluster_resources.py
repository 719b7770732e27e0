"""Ray for a sweep: join or start a cluster, and know what fits on it before the first trial."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from c2vl.config.experiment import Experiment, TrainSettings
from c2vl.support.errors import UserError

Node = Mapping[str, float]
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A stopped trial ends at its next report; its process is then used again. If the machine is
    # busy this may take a while, and giving up costs the next trial.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
    # How many trials may wait for resources is decided by us (see `Concurrency`).
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    # Checked once by us (see `slots`); Tune's own warnings would only repeat it.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # with it Tune prints a table even when told to be silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class NodeLost(UserError):
    """The node that the driver runs on is gone: what ran there goes on when the sweep does."""


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
        # The dashboard's ten processes would cost a short sweep more than its trials do.
        options |= {"include_dashboard": False, "num_cpus": cpus}
    else:
        options |= {"runtime_env": {"env_vars": ENVIRONMENT}}
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise UserError(f"no Ray cluster at {address}: {error}") from None
    except Exception as error:  # as Ray raises it where a part of its own did not come up
        ray.shutdown()
        raise UserError(f"Ray did not start ({error}); try again, or see its logs") from None
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
    fitting = _fitting(nodes, train)
    if not fitting:
        needs = ("CPU", "GPU")
        have = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in needs}
        raise UserError(
            f"a trial needs {train.workers} worker(s) with {train.cpus_per_worker:g} CPU and "
            f"{train.gpus_per_worker:g} GPU each (train.workers, train.cpus_per_worker, "
            f"train.gpus_per_worker), and the cluster has {have['CPU']:g} CPU and "
            f"{have['GPU']:g} GPU on {len(nodes)} node(s): lower them, or join a larger cluster"
        )
    return fitting


def _fitting(nodes: list[Node], train: TrainSettings) -> int:
    needs = {"CPU": train.cpus_per_worker, "GPU": train.gpus_per_worker}
    workers = 0
    for node in nodes:
        fits = [
            math.floor(node.get(kind, 0.0) / each + 1e-9) for kind, each in needs.items() if each
        ]
        workers += min(fits)
    return workers // train.workers


class Concurrency:
    """How many trials may run at once: asked before each, since nodes come and go.

    As many as fit on the nodes that live now, and no more than the sweep file asks for. Where the
    cluster grows on demand it is what the file asks for: trials that find no room wait, and that is
    what an autoscaler acts on.

    Args:
        train: what one training takes.
        asked: ``concurrency`` of the sweep file.
        autoscaling: the cluster grows on demand.

    Raises:
        UserError: not even one fits, and the cluster does not grow.
    """

    LOOK_AGAIN = 5.0  # seconds

    def __init__(self, train: TrainSettings, asked: int | None, autoscaling: bool = False) -> None:
        self._train, self._asked, self._autoscaling = train, asked, autoscaling
        self._looked = time.monotonic()
        self._fitting = 1 if autoscaling else slots(living_nodes(), train)

    def __call__(self) -> int:
        """Return how many may run now, at least one."""
        if self._autoscaling and self._asked is not None:
            return self._asked
        if time.monotonic() > self._looked + self.LOOK_AGAIN:
            self._looked = time.monotonic()
            self._fitting = max(1, _fitting(living_nodes(), self._train))
        return min(self._fitting, self._asked or self._fitting)


def living_nodes() -> list[Node]:
    """Return the resources of each living node of the cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def living_node_ids() -> set[str]:
    """Return the ids of the living nodes of the cluster."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


class OwnNode:
    """The node that this process runs on: without it nothing starts, and nothing says so.

    Ray ends the processes of trials with their node, and the driver where it is a job. One that
    was started from a shell goes on, and would wait for room for ever.
    """

    LOOK_AGAIN = 5.0  # seconds

    def __init__(self) -> None:
        import ray

        self._id = ray.get_runtime_context().get_node_id()
        self._looked = time.monotonic()
        self._gone = False

    def gone(self) -> bool:
        """Say whether it is lost; Ray knows some seconds to half a minute after it."""
        if not self._gone and time.monotonic() > self._looked + self.LOOK_AGAIN:
            self._looked = time.monotonic()
            self._gone = self._id not in living_node_ids()
        return self._gone


def trial_resources(experiment: Experiment) -> list[dict[str, float]]:
    """Return the bundles of a trial, one for each worker; its own process is in the first."""
    train = experiment.train
    gpu = {"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}
    return [{"CPU": train.cpus_per_worker, **gpu} for _ in range(train.workers)]
