"""Ray for a sweep: a cluster to join or to start, and how many trials fit on it."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from c2vl.config.experiment import Experiment, TrainSettings
from c2vl.support.cpus import usable_cpus
from c2vl.support.errors import UserError
from c2vl.support.ray_session import default_temp_dir, fit_to_this_machine, tell_address
from sweeps.planning.ray_internals import (
    ASKS_DASHBOARD,
    ENVIRONMENT,
    TRACKS_STATE,
    started_rays,
)

Node = Mapping[str, float]
CONNECT_SECONDS = 10.0


class NodeLost(UserError):
    """A Ray node is gone (the driver's own) or unfit; a resume continues the trials that ran."""


@contextmanager
def cluster(
    address: str | None = None,
    cpus: int | None = None,
    documented: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Connect to the Ray that :func:`ray_address` names, or start one here.

    An existing connection is used and left open.

    Args:
        address: of a running cluster; "local" always starts a new one.
        cpus: of a cluster started here; default: those that this process may use.
        documented: returns, with Ray's environment set, whether Ray Train's documented trainer
            runs the workers. It needs the dashboard, and the address where other Rays run on the
            host, to free what a stopped trial held. Otherwise a Ray started here has no dashboard,
            whose ten processes would cost a short sweep more than its trials do.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        yield
        return
    address, dashboard = ray_address(address), documented()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    environment: dict[str, Any] = {"worker_process_setup_hook": tell_address} if dashboard else {}
    if address == "local":
        os.environ.pop("RAY_ADDRESS", None)  # it may say so; workers would start their own
        fit_to_this_machine()
        options |= {"include_dashboard": dashboard, "num_cpus": cpus or usable_cpus()}
        for name in (ASKS_DASHBOARD, TRACKS_STATE):
            os.environ.setdefault(name, str(int(dashboard)))
    else:
        _require_answer(address)
        environment["env_vars"] = ENVIRONMENT | {TRACKS_STATE: "1"}
    try:
        ray.init(address=address, runtime_env=environment, **options)
    except ConnectionError as error:
        raise UserError(f"no Ray cluster at {address}: {error}") from None
    except Exception as error:  # as Ray raises it where a part of its own did not come up
        ray.shutdown()
        raise UserError(f"Ray did not start ({error}); try again, or see its logs") from None
    try:
        yield
    finally:
        ray.shutdown()


def ray_address(given: str | None = None) -> str:
    """Return the address of the Ray that a sweep joins; "local" where it starts one for itself.

    It is the one given, else RAY_ADDRESS (Ray jobs have it), else in a SLURM job the Ray that the
    job started on this host (``ray symmetric-run`` sets no RAY_ADDRESS).

    Raises:
        UserError: none is named, and a Ray of its own would leave other nodes of the SLURM job
            idle, or would use the resources of a Ray that runs here once more.
    """
    if named := given or os.environ.get("RAY_ADDRESS"):
        return named
    job, nodes = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_JOB_NUM_NODES", "1")
    rays = list(started_rays())
    if job:
        ours = sorted({ray.address for ray in rays if ray.slurm_job == job})
        if len(ours) == 1:
            print(f"joins the Ray of SLURM job {job} at {ours[0]}", file=sys.stderr)
            return ours[0]
        if ours or nodes != "1":
            found = ", ".join(ours) or "no Ray of the job runs on this host"
            raise UserError(
                f"RAY_ADDRESS: is not set in SLURM job {job} of {nodes} node(s) ({found}); start "
                "Ray on its nodes, for example with `srun ray symmetric-run --address HEAD:PORT "
                "-- …`, and set RAY_ADDRESS=HEAD:PORT; --address local uses this host alone"
            )
        return "local"
    for ray in rays:
        if ray.temp_dir == default_temp_dir():
            raise UserError(
                f"RAY_ADDRESS: is not set, and a Ray runs on this host at {ray.address}; "
                f"--address {ray.address} (or RAY_ADDRESS) runs the sweep on it, --address local "
                "starts another beside it"
            )
    return "local"


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens at once: Ray would wait for it for many minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # "auto", for example
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster at {address} ({error}); --address or RAY_ADDRESS may be that of one "
            "that has ended"
        ) from None


def slots(nodes: list[Node], train: TrainSettings) -> int:
    """Return how many trainings fit on the nodes at once.

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
    """How many trials may run at once; the engine asks before each, since nodes come and go.

    As many as fit on the living nodes, up to the number in the sweep file. On a cluster that grows
    on demand it is the number in the file: an autoscaler acts on trials that wait for room.

    Args:
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
    """The Ray node that this process runs on.

    When it is lost Ray ends the trials on it, and a driver that is a Ray job. A driver that was
    started from a shell survives, and would wait for room for ever.
    """

    LOOK_AGAIN = 5.0  # seconds

    def __init__(self) -> None:
        import ray

        self._id = ray.get_runtime_context().get_node_id()
        self._looked = time.monotonic()
        self._gone = False

    def gone(self) -> bool:
        """Say whether it is lost; Ray notices after seconds to half a minute."""
        if not self._gone and time.monotonic() > self._looked + self.LOOK_AGAIN:
            self._looked = time.monotonic()
            self._gone = self._id not in living_node_ids()
        return self._gone


def trial_resources(experiment: Experiment, *, documented: bool = False) -> list[dict[str, float]]:
    """Return a trial's resource bundles: one for its own process, then one for each worker.

    Its own process, which only directs the workers, takes no CPU of the cluster.

    Args:
        documented: Ray Train's documented trainer reserves what the workers take.
    """
    train = experiment.train
    if documented:
        return [{"CPU": 0, "memory": 1}]  # Tune refuses to reserve nothing
    gpu = {"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}
    return [{}, *({"CPU": train.cpus_per_worker, **gpu} for _ in range(train.workers))]
