"""What this package uses of Ray beyond its public interface; each name has a contract test.

tests/sweeps/planning/test_ray_internals.py says which of them an upgrade of Ray has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:  # Ray reads some of the environment when it is imported
    from ray.autoscaler.v2.schema import ClusterStatus
    from ray.tune.experiment import Trial

ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A stopped trial ends at its next report, and the next trial takes over its process. On a busy
    # machine this takes a while; if Tune gave up, the next trial would be lost.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
    # We decide how many trials may wait for resources (see `Concurrency`).
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    # We check this once (see `slots`); Tune's warnings would repeat it.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # with it Tune prints a table even when told to be silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
TRACKS_STATE = "RAY_TRAIN_ENABLE_STATE_TRACKING"
"""Set to 1 where a dashboard serves what it keeps: runs, attempts and ranks of Ray Train's state
API. Where there is none, nobody can ask for them, and their process takes over 3 CPU seconds."""
ASKS_DASHBOARD = "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION"
"""Set to 0 where there is no dashboard: Ray Train's state would ask it in vain for dead actors."""
ADDED_BY_TUNE = {
    "timestamp",
    "training_iteration",
    "time_this_iter_s",
    "time_total_s",
    "pid",
    "time_since_restore",
    "iterations_since_restore",
    "done",
    "checkpoint_dir_name",
}
"""What Tune adds to a report."""


def forgive_failure(trial: Trial) -> None:
    """Take one failure off a trial's count."""
    trial.run_metadata.num_failures = max(0, trial.run_metadata.num_failures - 1)


def error_text(trial: Trial) -> str:
    """Return the traceback that ended a trial; empty where its process was lost."""
    path = trial.error_file
    return Path(path).read_text(errors="replace") if path and Path(path).exists() else ""


@dataclass(frozen=True)
class StartedRay:
    """A Ray node of this user on this host that ``ray start`` started, not a driver for itself.

    Attributes:
        address: ``host:port`` of its cluster.
        temp_dir: of its sockets and logs.
        slurm_job: the id of the SLURM job that it runs in; empty outside of one.
    """

    address: str
    temp_dir: str
    slurm_job: str


def started_rays() -> Iterator[StartedRay]:
    """Yield the Ray nodes that ``ray start`` (or ``ray symmetric-run``) left running here.

    ``ray start`` writes the address into its temporary folder; a driver's own Ray does not.
    """
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if not command or Path(command[0]).name != "raylet":
                continue
            flags = dict(word.partition("=")[::2] for word in command)
            address, temp_dir = flags["--gcs-address"], flags["--temp_dir"]
            told = Path(temp_dir, "ray_current_cluster").read_text(encoding="utf-8").strip()
            job = process.environ().get("SLURM_JOB_ID", "")  # only of processes of this user
        except (psutil.Error, OSError, KeyError):
            continue  # it has ended, is another user's, or is a driver's own
        if told == address:
            yield StartedRay(address, temp_dir, job)


def autoscaler() -> ClusterStatus:
    """Return what Ray's autoscaler knows: demand, nodes that start, launches that failed.

    Raises:
        RuntimeError: it does not answer.
    """
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    return get_cluster_status(ray.get_runtime_context().gcs_address)
