"""What this package uses of Ray beyond its public interface; each name has a contract test.

tests/sweeps/planning/test_ray_internals.py says which of them an upgrade of Ray has changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Ray reads some of the environment when it is imported
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
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # runs, attempts and ranks in Ray Train's state API
}
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
