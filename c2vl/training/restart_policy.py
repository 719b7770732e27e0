"""When Ray Train's workers start again after one was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray

from c2vl.support.errors import TrainingError, UserError, is_disk_full
from c2vl.training.train_group_internals import (
    FailureDecision,
    FailurePolicy,
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from c2vl.training.worker_errors import says_peer_gone, true_error

NODE_NEWS = 40.0  # seconds after which a node's death has reached everybody


class Policy(FailurePolicy):
    """Restarts the workers after losses and errors, up to ``max_failures`` times.

    Losses of whole nodes are not counted. Ray tells of a lost node some seconds after its
    processes, so earlier losses are looked at again before the last one counts.

    Args:
        config: with ``max_failures``.
        restarts: called with the reason of each restart.
    """

    def __init__(self, config: Any, restarts: Callable[[str], None]) -> None:
        super().__init__(config)
        self._restarts = restarts
        self._losses: list[set[str]] = []  # nodes of the workers of each loss that counts
        self.group: Callable[[], Any] = lambda: None

    def make_decision(self, training_failed_error: Exception) -> FailureDecision:
        failures = getattr(training_failed_error, "worker_failures", {}).values()
        final = any(
            isinstance(one, UserError | TrainingError) or is_disk_full(one) for one in failures
        )
        starting = isinstance(
            getattr(training_failed_error, "controller_failure", None),
            WorkerGroupStartupFailedError | WorkerGroupStartupTimeoutError,
        )
        if final or not (failures or starting):
            return FailureDecision.RAISE
        if failures:
            group = self.group()
            nodes = {worker.metadata.node_id for worker in group.get_workers()} if group else set()
            self._losses.append(nodes)
            patience = NODE_NEWS if any(map(_says_lost, failures)) else 0.0
            if not self._few_enough(patience):
                return FailureDecision.RAISE
        self._restarts(true_error(training_failed_error))
        return FailureDecision.RETRY

    def _few_enough(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while True:
            living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            self._losses = [nodes for nodes in self._losses if nodes <= living]
            if len(self._losses) <= self.failure_config.max_failures:
                return True
            if time.monotonic() > deadline or len(living) == 1:
                return False
            time.sleep(1.0)


def _says_lost(error: Exception) -> bool:
    """Tell whether an error may come from a lost process."""
    lost = WorkerHealthCheckFailedError | WorkerHealthCheckTimeoutError
    return isinstance(error, lost) or says_peer_gone(error)
