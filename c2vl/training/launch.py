"""Launch the training loop on Ray Train: on a group of workers, or in this process alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment, TrainSettings
from c2vl.config.reading import dump, from_dict, resolved
from c2vl.support.errors import (
    NotShared,
    StorageAway,
    StorageFull,
    TrainingError,
    UserError,
    is_disk_full,
)
from c2vl.support.files import require_shared, require_writable
from c2vl.support.ray_session import connected, quiet_train
from c2vl.support.remote import Location, absolute, parse_location, require_reachable
from c2vl.training.group_run import GroupRun, Report
from c2vl.training.mirror import PATIENCE
from c2vl.training.node_notice import NodeNotice
from c2vl.training.run_folder import RunFolder
from c2vl.training.worker_errors import WorkersFailed, true_error

log = logging.getLogger(__name__)


def fit(
    experiment: Experiment,
    folder: Location,
    *,
    name: str,
    on_report: Report | None = None,
    told: int | None = None,
    on_restart: Callable[[str], None] | None = None,
    max_failures: int = 0,
    keep_checkpoint: bool = False,
    shared: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Train one experiment in a run's folder, or resume it; return at once if it is finished.

    The loop runs on Ray Train workers (:mod:`c2vl.training.train_group`), within the placement
    group of this process if it has one. A single worker is this process itself where no Ray is
    connected: that spares starting one, and the same call resumes what a kill cut off.

    Args:
        experiment: the settings.
        folder: the run's folder, on storage that all workers reach: a path, or a URL.
        name: name of the Ray Train run.
        on_report: called in this process with the figures of each epoch, once and in order; an
            exception in it ends training.
        told: the last epoch that need not be reported; default: the last in the folder.
        on_restart: called with the reason each time the workers start again.
        max_failures: how often they do after lost workers or unexpected errors; losses of whole
            nodes are not counted.
        keep_checkpoint: keep the last checkpoint when training is done.
        shared: a file, or the URL of one, that every worker must see, and what stands in it.

    Returns:
        The figures of the last epoch.

    Raises:
        UserError: settings that do not fit; trying again will not help.
        StorageFull: the disk has no room for a file, or the server of a URL is away
            (:class:`.StorageAway`); the same call resumes once that is over.
        NotShared: this process or a worker does not see ``shared``; nothing is written there.
        TrainingError: non-finite loss or no memory left; trying again will not help.
        WorkersFailed: more losses or unexpected errors than ``max_failures``.
    """
    import ray

    _see(shared)
    folder = absolute(folder)
    here = experiment.train.workers == 1 and not ray.is_initialized()
    if not here:
        experiment = resolved(experiment)
    why = "" if here else documented(experiment.train)
    if why and isinstance(folder, str):
        raise UserError(f"{folder}: {why}; the documented trainer needs a folder, not a URL")
    with _working_on(folder) as run:
        run.pull()
        run.reopen(dump(experiment))
        if run.done:
            return run.result()
        require_writable(run.path)
        began = time.monotonic()
        job = {
            "experiment": experiment.model_dump(mode="json"),
            "folder": str(folder),
            "shared": shared,
        }
        report = on_report or _silent
        if told is None:
            told = max((row["epoch"] for row in run.rows()), default=0)
        if here:
            _run(lambda: _fit_here(job, experiment.train, report), run)
        else:
            restarted = on_restart or _warn_of_restart
            # Ray Train's documented trainer needs the dashboard to give resources back
            with connected(told=True, starting={"include_dashboard": bool(why)}):
                _run(
                    lambda: _fit_on_workers(
                        run, job, experiment.train, why, report, told, restarted, name, max_failures
                    ),
                    run,
                )
        with _room(run):
            last = run.finish(time.monotonic() - began)
        run.drop_checkpoints(keep=int(keep_checkpoint))
        return last


def documented(settings: TrainSettings) -> str:
    """Return why Ray Train's documented trainer runs the workers; empty if ours does.

    Ours (:mod:`c2vl.training.train_group`) keeps the workers for the next run and needs some of
    Ray's private names, which another release of Ray may have changed.
    """
    if not settings.reuse_workers:
        return "train.reuse_workers is false"
    try:
        from c2vl.training.train_group_internals import changed

        found = changed()
    except (ImportError, AttributeError) as error:
        found = str(error)
    return f"this release of Ray has changed what keeps workers ({found})" if found else ""


def _fit_here(job: dict[str, Any], settings: TrainSettings, report: Report) -> None:
    """Train in Ray Train's local mode, without any worker."""
    import ray.train
    from ray.train.torch import TorchTrainer

    quiet_train()
    TorchTrainer(
        lambda config: _train(config, report, 0, ()),
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(num_workers=0, use_gpu=settings.gpus_per_worker > 0),
    ).fit()


def _fit_on_workers(
    run: RunFolder,
    job: dict[str, Any],
    settings: TrainSettings,
    why_documented: str,
    report: Report,
    told: int,
    restarted: Callable[[str], None],
    name: str,
    max_failures: int,
) -> None:
    """Train on a group of Ray Train workers."""
    import ray.train

    resources = {"CPU": settings.cpus_per_worker, "GPU": settings.gpus_per_worker}
    scaling = ray.train.ScalingConfig(
        num_workers=settings.workers,
        use_gpu=settings.gpus_per_worker > 0,
        resources_per_worker={key: value for key, value in resources.items() if value},
    )
    config = ray.train.RunConfig(
        name=name,
        storage_path=str(run.ray),
        failure_config=ray.train.FailureConfig(max_failures=max_failures),
        logging_config=quiet_train(),  # type: ignore[call-arg]  # its types are those of version 1
    )
    if why_documented:
        words = "Ray Train's documented trainer starts new workers for each run: %s"
        log.warning(words, why_documented)
        from c2vl.training.documented_trainer import run as run_on_workers
    else:
        from c2vl.training.train_group import run as run_on_workers
    run_on_workers(
        GroupRun(_loop, job, report, run.newest_rows, told, restarted, scaling, config),
    )


def _run(fit_loop: Callable[[], None], run: RunFolder) -> None:
    """Run a trainer and raise the loop's own errors unwrapped."""
    import ray.train

    try:
        fit_loop()
    except (UserError, TrainingError):
        raise
    except ray.train.TrainingFailedError as error:
        # A full disk may prevent the error file; the workers' own errors are in this exception.
        for cause in getattr(error, "worker_failures", {}).values():
            if isinstance(cause, NotShared | StorageAway):
                raise type(cause)(str(cause)) from None
        run.pull()
        _raise_final(run)
        for cause in getattr(error, "worker_failures", {}).values():
            if is_disk_full(cause):
                raise StorageFull(str(cause)) from None
        raise WorkersFailed(f"{error}\n{true_error(error)}") from None
    _raise_final(run)


def _raise_final(run: RunFolder) -> None:
    if (error := run.error()) is not None:
        raise error


def _loop(job: dict[str, Any], report: Report) -> None:
    """Run the loop as one worker of a group."""
    import ray.train

    quiet_train()
    rank = ray.train.get_context().get_world_rank()
    with _working_on(parse_location(job["folder"]), discard=rank == 0):
        _train(job, report, rank, ray.get_gpu_ids(), NodeNotice())


@contextmanager
def _working_on(location: Location, *, discard: bool = True) -> Iterator[RunFolder]:
    """Yield a run's folder; of one at a URL the copy is not wanted any more at the end.

    Args:
        discard: delete the copy. One of another rank on this machine may still use it.
    """
    run = RunFolder.at(location)
    try:
        yield run
    finally:
        if run.mirror is not None:
            run.mirror.close(discard=discard)


def _see(shared: tuple[str, str] | None) -> None:
    if shared is None:
        return
    file, says = parse_location(shared[0]), shared[1]
    if isinstance(file, Path):
        require_shared(file, says)
    else:
        require_reachable(file, says, PATIENCE)


def _silent(_: dict[str, Any]) -> None:
    return None


def _warn_of_restart(why: str) -> None:
    log.warning("%s; the workers start again and go on from the last checkpoint", why)


def _train(
    job: dict[str, Any],
    report: Report,
    rank: int,
    assigned: Sequence[int | str],
    node_leaves: Callable[[], bool] = lambda: False,
) -> None:
    from c2vl.training.device import worker_device
    from c2vl.training.loop import Session, train

    _see(job.get("shared"))
    experiment, run = from_dict(job["experiment"]), RunFolder.at(parse_location(job["folder"]))
    settings = experiment.train
    threads = max(1, int(settings.cpus_per_worker))
    try:
        device = worker_device(settings.gpus_per_worker, assigned)
        with _room(run):
            if rank == 0:
                run.pull(checkpoints=True)
            else:
                run.pull_checkpoints()
            train(experiment, Session(run, report, rank, device, threads, node_leaves))
    except (StorageAway, NotShared):
        raise
    except (UserError, TrainingError) as error:
        try:
            run.fail(error)
        except UserError as unwritten:
            log.warning("%s", unwritten)
        raise


@contextmanager
def _room(run: RunFolder) -> Iterator[None]:
    """Convert the errors of a full disk to one message."""
    try:
        yield
    except Exception as error:
        final = isinstance(error, UserError) and not isinstance(error, StorageFull)
        if final or not is_disk_full(error):
            raise
        raise StorageFull(
            f"{run.path}: no room is left on the disk, or a quota is reached; nothing is lost: "
            f"free some, and training goes on from the last checkpoint ({error})"
        ) from None
