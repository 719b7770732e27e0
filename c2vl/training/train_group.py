"""Ray Train's controller in this process, with workers that stay for this process's next run.

Ray Train's documented trainer starts eight processes for each run: controller, workers and helpers.
A trial of a sweep takes seconds, so here its own process is the controller, the workers live in the
placement group that Ray Tune made for the trial, and those of a run that ended well wait for the
next trial (``tests/benchmarks/test_trial_overhead.py`` measures both ways). Controller, worker
group, report and restart are Ray Train's own; what this file replaces of them are private names of
Ray (:mod:`c2vl.training.train_group_internals`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import ray
import ray.train
import torch.distributed as dist

from c2vl.training.group_run import GroupRun, Loop, Report, Row
from c2vl.training.restart_policy import Policy
from c2vl.training.system_usage import give_memory_back
from c2vl.training.train_group_internals import (
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR,
    ENABLE_PREEMPTION_WATCHER_ENV_VAR,
    MAX_CHECKPOINT_UPLOAD_THREADS,
    DatasetsCallback,
    DefaultPlacementGroupHandle,
    FixedScalingPolicy,
    PlacementGroupCleanerCallback,
    RayTrainWorker,
    ReportCallback,
    StateManagerCallback,
    TorchTrainer,
    TrainContext,
    TrainController,
    WorkerGroup,
    WorkerGroupState,
    get_train_context,
    state,
    worker_group,
)
from c2vl.training.worker_errors import Stopped, says_peer_gone

log = logging.getLogger(__name__)

NEWS = 1.0  # seconds after which a worker without news answers a poll all the same
POLL = 5.0  # seconds that a poll waits for workers that do not answer
FROZEN = 60.0  # seconds without an answer after which a worker counts as lost; Ray's default is 600
LOOK_AGAIN = 10.0  # seconds in which the cause of an error that only says "peer gone" appears
ENVIRONMENT = {
    ENABLE_PREEMPTION_WATCHER_ENV_VAR: "0",  # a process a run; see c2vl.training.node_notice
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR: "0",  # it would take over this process's logs
}


# --- in a worker's process ------------------------------------------------------------------------


class Gate:
    """Holds a worker after each epoch until the controller's process has passed the epoch on."""

    change = threading.Condition()
    answered, go_on = 0, True

    @classmethod
    def answer(cls, epoch: int, go_on: bool) -> None:
        """Let the worker continue after an epoch, or end it."""
        with cls.change:
            cls.answered, cls.go_on = epoch, go_on
            cls.change.notify_all()

    @classmethod
    def report(cls, row: Row) -> None:
        """Report an epoch and wait for the answer.

        Raises:
            Stopped: the training is to end.
        """
        ray.train.report(row)
        with cls.change:
            cls.change.wait_for(lambda: cls.answered >= row["epoch"] or not cls.go_on)
            if not cls.go_on:
                raise Stopped


class TrainWorker(RayTrainWorker):
    """A worker that answers a poll as soon as it has news, so that no epoch waits for a poll."""

    def poll_status(self) -> Any:
        execution, deadline = get_train_context().execution_context, time.monotonic() + NEWS
        while time.monotonic() < deadline:
            if not execution.result_queue.empty():
                break
            if not execution.training_thread_runner.is_running():
                break
            time.sleep(0.003)
        return super().poll_status()


def _renew() -> None:
    """Make a kept worker as new: renew what Ray Train leaves to the end of its process."""
    TrainContext.checkpoint_upload_threadpool = ThreadPoolExecutor(MAX_CHECKPOINT_UPLOAD_THREADS)
    if dist.is_initialized():  # Ray Train leaves the process group of a single worker
        dist.destroy_process_group()
    Gate.answer(0, True)


def _work(loop: Loop, job: dict[str, Any]) -> None:
    try:
        loop(job, Gate.report)
    except Stopped:
        pass
    finally:
        give_memory_back()


# --- in the controller's process ------------------------------------------------------------------


class NoMeeting:
    """In place of the actor at which Ray Train's workers agree on the name of a checkpoint.

    Ours report no checkpoints, so that each may keep its own name. The actor's process would start
    for each run: 1.4 CPU seconds, of 1.7 that a trial took beside its training.
    """

    broadcast_from_rank_zero = SimpleNamespace(remote=lambda *, data, **_: ray.put(data))

    @classmethod
    def options(cls, **_: Any) -> type[NoMeeting]:
        """Take what the actor's class takes."""
        return cls

    @classmethod
    def remote(cls, **_: Any) -> NoMeeting:
        """Start nothing."""
        return cls()


@contextmanager
def _no_meeting() -> Iterator[None]:
    """Let the worker groups of this process start and end no actor to meet at."""
    own = (
        (worker_group, "SynchronizationActor", NoMeeting),
        (state, "_shutdown_sync_actor", lambda _: None),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in own]
    for module, name, value in own:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class Lent(DefaultPlacementGroupHandle):
    """The placement group of the trial."""

    def shutdown(self) -> None:
        """Ray Tune removes it."""


class Kept(WorkerGroupState):
    """Workers that outlast their run."""

    def shutdown(self) -> None:
        ray.get([worker.actor.shutdown.remote() for worker in self.workers])


class Group(WorkerGroup):
    """Workers in the trial's placement group, kept after a run that ended well.

    Without a trial they have a placement group of their own and end with their run.
    """

    _worker_cls = TrainWorker
    kept: ClassVar[dict[tuple[Any, ...], list[Any]]] = {}  # of this process, by what they hold

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._worker_health_check_timeout_s = FROZEN
        self._key: tuple[Any, ...] | None = None

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
        if (lent := ray.util.get_current_placement_group()) is None:
            return super()._create_placement_group(scaling_config, worker_group_context)
        resources = worker_group_context.resources_per_worker
        self._key = (lent.id, worker_group_context.num_workers, *sorted(resources.items()))
        return Lent(lent)

    def _create_workers(self, *args: Any, **more: Any) -> Any:
        if self._key is not None and (workers := Group.kept.pop(self._key, None)):
            try:
                ray.get([worker.actor.execute.remote(_renew) for worker in workers], timeout=FROZEN)
            except ray.exceptions.RayError:  # one has died or frozen meanwhile
                for worker in workers:
                    ray.kill(worker.actor)
            else:
                return workers
        return super()._create_workers(*args, **more)

    def _init_train_context_on_workers(
        self, workers: Any, sync_actor: Any, train_context_args: dict[str, list[Any]]
    ) -> None:
        # Ray Train's own asks for the actor that the controller is; `c2vl train` is none.
        starts = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=sync_actor,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[rank] for name, values in train_context_args.items()},
            )
            for rank, worker in enumerate(workers)
        ]
        ray.get(starts)
        self._decorate_worker_log_file_paths(workers)

    def poll_status(self, timeout: float | None = None) -> Any:
        deadline = time.monotonic() + LOOK_AGAIN
        status = super().poll_status(timeout)
        while status.errors and all(map(says_peer_gone, status.errors.values())):
            if time.monotonic() > deadline:
                break
            status = super().poll_status(timeout)
        return status

    def shutdown(self) -> None:
        status = self.get_latest_poll_status()
        if self._key is not None and status and status.finished and not status.errors:
            Group.kept[self._key] = self.get_workers()
            self._worker_group_state = Kept(**vars(self._worker_group_state))
        super().shutdown()  # type: ignore[no-untyped-call]


class Controller(TrainController):
    """Polls without a pause: the workers answer once they have news."""

    worker_group_cls = Group

    async def _poll_workers(self) -> Any:
        return self._worker_group.poll_status(timeout=POLL)  # type: ignore[union-attr]


class Scaling(FixedScalingPolicy):
    """A fixed number of workers; their placement group is all the demand an autoscaler sees."""

    def _send_resource_request(self) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...

    def _cancel_resource_request(self) -> None: ...


class Reports(ReportCallback):
    """Passes each epoch on once and in order.

    After a restart of the workers some epochs come again, and of others the workers that wrote them
    died before they reported.

    Args:
        report: receives the figures; an exception in it ends the training.
        written: returns the figures of the epochs in the run's folder.
        last: the last epoch that was passed on before.
    """

    def __init__(self, report: Report, written: Callable[[], list[Row]], last: int) -> None:
        self._report, self._written, self._last = report, written, last
        self.ended: BaseException | None = None
        self.group: Callable[[], Any] = lambda: None

    def after_report(self, training_report: Any, metrics: list[Row]) -> None:
        try:
            for row in self._due(metrics[0]):
                self._last = row["epoch"]
                self._report(row)
        except BaseException as error:  # a stopped trial leaves by SystemExit
            self.ended = error
        self.group().execute_async(Gate.answer, metrics[0]["epoch"], self.ended is None)

    def _due(self, row: Row) -> Iterator[Row]:
        if row["epoch"] > self._last + 1:
            yield from (one for one in self._written() if self._last < one["epoch"] < row["epoch"])
        if row["epoch"] > self._last:
            yield row


class Trainer(TorchTrainer):
    """Ray Train's trainer, with its controller in this process."""

    def __init__(
        self, loop: Loop, job: dict[str, Any], reports: Reports, policy: Policy, **more: Any
    ) -> None:
        super().__init__(partial(_work, loop), train_loop_config=job, **more)
        self._reports, self._policy = reports, policy

    def _create_default_callbacks(self) -> Any:
        unused: tuple[type, ...] = (PlacementGroupCleanerCallback, DatasetsCallback)
        if ray.get_runtime_context().get_actor_id() is None:  # the state API lists actors alone
            unused += (StateManagerCallback,)
        default = super()._create_default_callbacks()
        return [*(one for one in default if not isinstance(one, unused)), self._reports]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        own = {
            "scaling_policy": Scaling(arguments["scaling_policy"].scaling_config),
            "failure_policy": self._policy,
        }
        controller = Controller(**{**arguments, **own})
        self._reports.group = self._policy.group = controller.get_worker_group
        runner = asyncio.new_event_loop()  # `asyncio.run` would take SIGINT
        with _no_meeting():
            try:
                runner.run_until_complete(controller.run())  # type: ignore[no-untyped-call]
            finally:
                runner.close()
                if (group := controller.get_worker_group()) is not None:
                    with suppress(Exception):  # the error that brought us here counts
                        group.abort()
        if self._reports.ended is not None:
            raise self._reports.ended
        return controller.get_result()


def run(group: GroupRun) -> None:
    """Run a training on workers that this process controls.

    Raises:
        ray.train.TrainingFailedError: as the documented trainer raises it.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    reports = Reports(group.report, group.written, group.told)
    policy = Policy(group.run_config.failure_config, group.restarts)
    how = {"scaling_config": group.scaling_config, "run_config": group.run_config}
    Trainer(group.loop, group.job, reports, policy, **how).fit()
