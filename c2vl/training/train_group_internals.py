"""The private names of Ray Train that :mod:`c2vl.training.train_group` replaces or calls.

They are imported here and nowhere else, and :func:`changed` says what another release of Ray has
changed, for the caller to use the documented trainer then.
"""

from __future__ import annotations

import inspect

from ray.train.v2._internal.callbacks import DatasetsCallback, StateManagerCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import (
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR,
    ENABLE_PREEMPTION_WATCHER_ENV_VAR,
)
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.callback import ReportCallback
from ray.train.v2._internal.execution.context import (
    MAX_CHECKPOINT_UPLOAD_THREADS,
    TrainContext,
    get_train_context,
)
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.train.v2._internal.execution.worker_group.state import (
    WorkerGroupState,
    WorkerGroupStateBuilder,
)
from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker
from ray.train.v2.torch.torch_trainer import TorchTrainer

__all__ = [
    "ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR",
    "ENABLE_PREEMPTION_WATCHER_ENV_VAR",
    "MAX_CHECKPOINT_UPLOAD_THREADS",
    "DatasetsCallback",
    "DefaultPlacementGroupHandle",
    "FailureDecision",
    "FailurePolicy",
    "FixedScalingPolicy",
    "PlacementGroupCleanerCallback",
    "RayTrainWorker",
    "ReportCallback",
    "StateManagerCallback",
    "TorchTrainer",
    "TrainContext",
    "TrainController",
    "WorkerGroup",
    "WorkerGroupStartupFailedError",
    "WorkerGroupStartupTimeoutError",
    "WorkerGroupState",
    "WorkerHealthCheckFailedError",
    "WorkerHealthCheckTimeoutError",
    "get_train_context",
    "state",
    "worker_group",
]

SIGNATURES: tuple[tuple[type, str, str], ...] = (
    (TrainController, "__init__", "self train_fn_ref train_run_context scaling_policy"),
    (TrainController, "run", "self"),
    (TrainController, "get_worker_group", "self"),
    (TrainController, "get_result", "self"),
    (TrainController, "_poll_workers", "self"),
    (WorkerGroup, "__init__", "self train_run_context worker_group_context"),
    (WorkerGroup, "_create_placement_group", "self scaling_config worker_group_context"),
    (WorkerGroup, "_create_workers", "self num_workers placement_group resources_per_worker"),
    (WorkerGroup, "_init_train_context_on_workers", "self workers sync_actor train_context_args"),
    (WorkerGroup, "_decorate_worker_log_file_paths", "workers"),
    (WorkerGroup, "poll_status", "self timeout"),
    (WorkerGroup, "get_latest_poll_status", "self"),
    (WorkerGroup, "get_workers", "self"),
    (WorkerGroup, "execute_async", "self fn"),
    (WorkerGroup, "shutdown", "self"),
    (WorkerGroup, "abort", "self"),
    (WorkerGroupState, "__init__", "self start_time placement_group_handle workers sync_actor"),
    (WorkerGroupState, "shutdown", "self"),
    (DefaultPlacementGroupHandle, "__init__", "self pg"),
    (DefaultPlacementGroupHandle, "shutdown", "self"),
    (RayTrainWorker, "poll_status", "self"),
    (RayTrainWorker, "execute", "self fn"),
    (
        RayTrainWorker,
        "init_train_context",
        "self train_run_context distributed_context synchronization_actor storage_context "
        "worker_callbacks controller_actor",
    ),
    (RayTrainWorker, "shutdown", "self"),
    (FixedScalingPolicy, "__init__", "self scaling_config"),
    (FixedScalingPolicy, "_send_resource_request", "self"),
    (FixedScalingPolicy, "_maybe_send_resource_request", "self"),
    (FixedScalingPolicy, "_cancel_resource_request", "self"),
    (FailurePolicy, "__init__", "self failure_config"),
    (FailurePolicy, "make_decision", "self training_failed_error"),
    (ReportCallback, "after_report", "self training_report metrics"),
    (TorchTrainer, "_create_default_callbacks", "self"),
    (TorchTrainer, "_initialize_and_run_controller", "self"),
)
ATTRIBUTES: tuple[tuple[type, str, str], ...] = (
    (TrainController, "_start_worker_group", "worker_group_cls _worker_group create"),
    (WorkerGroup, "_create_workers", "_worker_cls"),
    (
        WorkerGroup,
        "__init__",
        "_worker_health_check_timeout_s _worker_group_state _train_run_context _storage_context "
        "_worker_callbacks_to_propagate",
    ),
    (WorkerGroup, "_start_impl", "SynchronizationActor options remote"),
    (WorkerGroup, "shutdown", "_worker_group_state shutdown"),
    (WorkerGroupState, "shutdown", "_shutdown_sync_actor"),
    (WorkerGroupStateBuilder, "shutdown", "_shutdown_sync_actor"),
    (RayTrainWorker, "poll_status", "result_queue training_thread_runner is_running"),
    (TrainContext, "report", "checkpoint_upload_threadpool"),
    (TrainContext, "_sync_checkpoint_dir_name_across_ranks", "broadcast_from_rank_zero remote"),
)


def changed() -> str:
    """Return what this release of Ray has changed of these names; empty if nothing."""
    for owner, name, wanted in SIGNATURES:
        function = getattr(owner, name, None)
        found = " ".join(inspect.signature(function).parameters) if function else "nothing"
        if not f"{found} ".startswith(f"{wanted} "):
            return f"{owner.__name__}.{name}({wanted} ...) is now ({found})"
    for owner, name, attributes in ATTRIBUTES:
        names = getattr(owner, name).__code__.co_names
        for attribute in attributes.split():
            if attribute not in names:
                return f"{owner.__name__}.{name} has no {attribute} now"
    return ""
