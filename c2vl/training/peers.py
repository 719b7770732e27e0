"""A group of workers whose first one is this process; the others are its peers.

A trial of a sweep holds the resources of all its workers in one placement group, a bundle a worker,
and its own process is in the first. The peers are Ray actors in the other bundles. They outlast the
training: the next one that starts in this process finds them with everything imported, where a Ray
Train worker group starts its controller, its helpers and its workers for each run
(``tests/benchmarks/test_trial_overhead.py`` measures both). They end with this process.

A lost worker ends the training with an error here; the caller that runs trials resumes it from the
checkpoint. No worker passes an epoch's end before the first worker has reported the epoch.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from c2vl.support.errors import TrainingError, UserError

log = logging.getLogger(__name__)
Job = dict[str, Any]
Report = Callable[[dict[str, Any]], None]
Loop = Callable[[Job, int, Report], None]
GRACE = 30.0  # seconds that a worker may take to end once another one has failed
TIMEOUT = timedelta(minutes=30)  # of a collective: the first worker validates alone within one

_crews: dict[tuple[Any, ...], list[Any]] = {}


def lead(loop: Loop, job: Job, workers: int, cpus: float, gpus: float, report: Report) -> None:
    """Run a loop on a group of workers, as its first one.

    Args:
        loop: called on every worker with the job, the worker's rank and whom to tell of an epoch,
            inside a process group of torch.distributed; a function of a module.
        job: what Ray can pickle.
        workers: of the group, this one included.
        cpus: of each worker.
        gpus: of each worker; with any, they speak NCCL, else gloo.
        report: called with each epoch's figures; an exception in it ends the loop on all workers.

    Raises:
        UserError: this process is in no placement group; or as the loop raised it on any worker.
        TrainingError: as the loop raised it on any worker.
    """
    import ray
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    peers = _crew(workers, cpus, gpus)
    ray.get([peer.ready.remote() for peer in peers])
    host = ray.util.get_node_ip_address()
    store = TCPStore(host, 0, workers, is_master=True, wait_for_workers=False)
    meeting = Meeting(host, store.port, workers, "nccl" if gpus else "gloo")
    running = [peer.run.remote(loop, job, rank, meeting) for rank, peer in enumerate(peers, 1)]
    over = threading.Event()
    threading.Thread(target=_watch, args=(running, over), daemon=True).start()
    try:
        with meeting.joined(0, store):
            loop(job, 0, lambda row: _led(report, row))
    except Exception:
        over.set()
        _raise_of(running)
        raise
    finally:
        over.set()
        _end(running)


@dataclass(frozen=True)
class Meeting:
    """Where the workers of one training find each other.

    Attributes:
        host: of the first worker.
        port: of its store.
        workers: how many there are.
        backend: of torch.distributed.
    """

    host: str
    port: int
    workers: int
    backend: str

    @contextmanager
    def joined(self, rank: int, store: Any = None) -> Iterator[None]:
        """Join the group while the block runs; leaving it ends the waiting of the others."""
        import torch.distributed as dist
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        if store is None:
            store = TCPStore(self.host, self.port, self.workers, timeout=TIMEOUT)
        dist.init_process_group(
            self.backend, store=store, rank=rank, world_size=self.workers, timeout=TIMEOUT
        )
        try:
            yield
        finally:
            dist.destroy_process_group()


class Peer:
    """A Ray actor that serves as a worker of successive trainings."""

    def ready(self) -> None:
        """Import what training needs, so that no collective waits for imports."""
        import c2vl.training.loop  # noqa: F401

    def run(self, loop: Loop, job: Job, rank: int, meeting: Meeting) -> None:
        """Work as this rank until the loop ends or the first worker ends it."""
        from c2vl.training.system_usage import give_memory_back

        try:
            with suppress(_Ended), meeting.joined(rank):
                loop(job, rank, _followed)
        finally:
            give_memory_back()


class _Ended(BaseException):
    """The first worker ended the training at a report: no error, and none that a loop catches."""


def _led(report: Report, row: dict[str, Any]) -> None:
    try:
        report(row)
    except BaseException:  # a stopped trial leaves by SystemExit
        with suppress(Exception):
            _agree(go_on=False)
        raise
    _agree(go_on=True)


def _followed(_: dict[str, Any]) -> None:
    if not _agree():
        raise _Ended


def _agree(go_on: bool = False) -> bool:
    """Send the others whether training continues, or receive it."""
    import torch
    import torch.distributed as dist

    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    word = torch.tensor([go_on], dtype=torch.uint8, device=device)
    dist.broadcast(word, src=0)
    return bool(word.item())


def _crew(workers: int, cpus: float, gpus: float) -> list[Any]:
    """Return the peers of this process: those kept from the last training, or new ones."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = ray.util.get_current_placement_group() if ray.is_initialized() else None
    if group is None or group.bundle_count < workers:
        raise UserError(
            f"train.workers: {workers} workers need a placement group with a bundle for each, and "
            "this process is in none; run them as a worker group of Ray Train, or set it to 1"
        )
    key = (group.id, workers, cpus, gpus)
    if key not in _crews:
        _crews[key] = [
            ray.remote(Peer)
            .options(
                num_cpus=cpus,
                num_gpus=gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=rank
                ),
            )
            .remote()
            for rank in range(1, workers)
        ]
    return _crews[key]


def _watch(running: list[Any], over: threading.Event) -> None:
    """End this process if a peer has failed and a collective still waits for it."""
    import ray

    while running and not over.is_set():
        ended, running = ray.wait(running, timeout=1.0)
        if any(_error(task) is not None for task in ended):
            if not over.wait(GRACE):
                log.error("a worker of the group was lost, and its collective does not end")
                os._exit(1)
            return


def _error(task: Any) -> BaseException | None:
    """Return the exception that an ended task raised."""
    import ray

    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        return error.cause if isinstance(error.cause, BaseException) else error
    except ray.exceptions.RayError as error:
        return error
    return None


def _raise_of(running: list[Any]) -> None:
    """Raise a peer's own error, unless it only says that other workers left."""
    import ray

    ended, _ = ray.wait(running, num_returns=len(running), timeout=GRACE)
    errors = [error for task in ended if (error := _error(task)) is not None]
    for kind in (UserError, TrainingError, ray.exceptions.RayActorError):
        for error in errors:
            if isinstance(error, kind):
                raise error from None


def _end(running: list[Any]) -> None:
    """Keep the peers if they are all free again, else end them."""
    import ray

    ended, left = ray.wait(running, num_returns=len(running), timeout=GRACE)
    lost = [isinstance(_error(task), ray.exceptions.RayActorError) for task in ended]
    if left or any(lost):
        for crew in _crews.values():
            for peer in crew:
                ray.kill(peer)
        _crews.clear()
