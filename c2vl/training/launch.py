"""Launch the training loop: in this process (alone or with peers), or on a Ray Train group."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from c2vl.config.experiment import Experiment, TrainSettings
from c2vl.config.reading import dump, from_dict, resolved
from c2vl.support.errors import StorageFull, TrainingError, UserError, first_line, is_full
from c2vl.support.files import see_writable
from c2vl.support.ray_session import connected, quiet_train
from c2vl.training import peers
from c2vl.training.run_folder import RunFolder

log = logging.getLogger(__name__)
Report = Callable[[dict[str, Any]], None]


def fit(
    experiment: Experiment,
    folder: Path,
    *,
    name: str,
    on_report: Report | None = None,
    max_failures: int = 0,
    in_process: bool | None = None,
    keep_checkpoint: bool = False,
) -> dict[str, Any]:
    """Train one experiment in a run's folder, or resume it; return at once if it is finished.

    Args:
        experiment: the settings.
        folder: the run's folder, on storage that all workers reach.
        name: name of the Ray Train run.
        on_report: called with the figures of each epoch when the loop runs in this process.
        max_failures: how often a worker group is restarted after lost workers or unexpected errors.
        in_process: run the loop in this process, with peers (:mod:`c2vl.training.peers`) where it
            needs more workers; the default where it needs none. Otherwise on a worker group.
        keep_checkpoint: keep the last checkpoint when training is done.

    Returns:
        The figures of the last epoch.

    Raises:
        UserError: settings that do not fit; trying again will not help.
        StorageFull: the disk has no room for a file; the same call resumes once there is.
        TrainingError: non-finite loss or no memory left; trying again will not help.
    """
    folder = folder.absolute()
    if in_process is None:
        in_process = experiment.train.workers == 1
    if not in_process:
        experiment = resolved(experiment)
    run = RunFolder(folder)
    run.reopen(dump(experiment))
    if run.done:
        return run.result()
    see_writable(folder)
    began = time.monotonic()
    trainer = _trainer(experiment, folder, name, on_report, max_failures, in_process)
    with nullcontext() if in_process else connected(told=True):
        _run(trainer, folder)
    with _room(folder):
        last = run.finish(time.monotonic() - began)
    run.drop_checkpoints(keep=int(keep_checkpoint))
    return last


def _trainer(
    experiment: Experiment,
    folder: Path,
    name: str,
    on_report: Report | None,
    max_failures: int,
    in_process: bool,
) -> Any:
    import ray.train
    from ray.train.torch import TorchTrainer

    settings = experiment.train
    quiet = quiet_train()
    job = {"experiment": experiment.model_dump(mode="json"), "folder": str(folder)}
    if in_process:
        return TorchTrainer(
            lambda config: _in_this_process(config, settings, on_report or _silent),
            train_loop_config=job,
            scaling_config=ray.train.ScalingConfig(
                num_workers=0, use_gpu=settings.gpus_per_worker > 0
            ),
        )
    resources = {"CPU": settings.cpus_per_worker, "GPU": settings.gpus_per_worker}
    return TorchTrainer(
        _in_a_worker,
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.gpus_per_worker > 0,
            resources_per_worker={key: value for key, value in resources.items() if value},
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(RunFolder(folder).ray),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
            logging_config=quiet,  # type: ignore[call-arg]  # its types are those of version 1
        ),
    )


def _run(trainer: Any, folder: Path) -> None:
    """Run a trainer and raise the loop's own errors unwrapped."""
    try:
        trainer.fit()
    except (UserError, TrainingError):
        raise
    except Exception as error:
        _raise_final(folder)
        # A full disk may prevent the error file; the workers' own errors are in this exception.
        for cause in getattr(error, "worker_failures", {}).values():
            if is_full(cause):
                raise StorageFull(str(cause)) from None
        raise
    _raise_final(folder)


def _raise_final(folder: Path) -> None:
    if (error := RunFolder(folder).error()) is not None:
        raise error


def _in_this_process(job: dict[str, Any], settings: TrainSettings, report: Report) -> None:
    if settings.workers == 1:
        _alone(job, 0, report)
    else:
        cpus, gpus = settings.cpus_per_worker, settings.gpus_per_worker
        peers.lead(_alone, job, settings.workers, cpus, gpus, report)


def _alone(job: dict[str, Any], rank: int, report: Report) -> None:
    """Run the loop as one worker that Ray Train did not start."""
    import torch

    experiment = from_dict(job["experiment"])
    wants_gpu = experiment.train.gpus_per_worker > 0
    if wants_gpu and not torch.cuda.is_available():
        raise UserError("train.gpus_per_worker: no GPU is visible here; set it to 0")
    device = torch.device("cuda" if wants_gpu else "cpu")
    _train(experiment, Path(job["folder"]), report, rank, device)


def _in_a_worker(job: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import get_device

    folder = Path(job["folder"])
    if RunFolder(folder).failed:
        return  # final error: Ray Train restarted the group, but a retry cannot help
    quiet_train()
    rank = ray.train.get_context().get_world_rank()
    _train(from_dict(job["experiment"]), folder, ray.train.report, rank, get_device())


def _silent(_: dict[str, Any]) -> None:
    return None


def _train(experiment: Experiment, folder: Path, report: Report, rank: int, device: Any) -> None:
    import torch

    from c2vl.training.loop import Session, train

    threads = max(1, int(experiment.train.cpus_per_worker))
    session = Session(folder, report, rank=rank, device=device, threads=threads)
    try:
        try:
            with _room(folder):
                train(experiment, session)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{folder.name}: no memory left on {device}; lower train.batch_size or "
                f"data.frames, or use more workers ({first_line(error)})"
            ) from None
    except (UserError, TrainingError) as error:
        try:
            RunFolder(folder).fail(error)
        except UserError as unwritten:
            log.warning("%s", unwritten)
        raise


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Convert the errors of a full disk to one message."""
    try:
        yield
    except Exception as error:
        final = isinstance(error, UserError) and not isinstance(error, StorageFull)
        if final or not is_full(error):
            raise
        raise StorageFull(
            f"{folder}: no room is left on the disk, or a quota is reached; nothing is lost: free "
            f"some, and training goes on from the last checkpoint ({error})"
        ) from None
