"""Ray Train's documented trainer, which starts controller and workers anew for each run.

It stands in for :mod:`c2vl.training.train_group` where Ray has changed the private names that this
needs. The controller is a process of Ray's here, so that files in the run's folder carry what goes
between the workers and this process: the epochs that the workers wrote, the answer to the last of
them, and why workers failed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from c2vl.training.group_run import GroupRun, Loop, Row
from c2vl.training.run_folder import RunFolder
from c2vl.training.worker_errors import Stopped, cause

LOOK = 0.05  # seconds between two looks at the files


def run(group: GroupRun) -> None:
    """Run a training; as :func:`c2vl.training.train_group.run`."""
    folder = Path(group.job["folder"])
    trainer = TorchTrainer(
        partial(_work, group.loop),
        train_loop_config=group.job,
        scaling_config=group.scaling_config,
        run_config=replace(group.run_config, callbacks=[Failures(folder)]),
    )
    with _followed(RunFolder(folder), group):
        trainer.fit()


def _work(loop: Loop, job: dict[str, Any]) -> None:
    run = RunFolder(Path(job["folder"]))
    if run.failed:
        return  # final error: Ray Train restarted the group, but a retry cannot help

    def report(row: Row) -> None:
        ray.train.report(row)
        while True:
            epoch, go_on = run.answered()
            if not go_on:
                raise Stopped
            if epoch >= row["epoch"]:
                return
            time.sleep(LOOK)

    with suppress(Stopped):
        loop(job, report)


class Failures(ray.train.UserCallback):
    """Writes down why workers failed, in the controller's process.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._run = RunFolder(folder)

    def after_exception(
        self, run_context: Any, worker_exceptions: Mapping[int, BaseException]
    ) -> None:
        """Write down the error that explains the others."""
        with suppress(OSError):  # a full disk
            self._run.note_failure(cause(worker_exceptions))


@contextmanager
def _followed(run: RunFolder, group: GroupRun) -> Iterator[None]:
    """Report epochs and restarts that the run's folder gets, and answer, until the block ends."""
    over, ended = threading.Event(), list[BaseException]()
    last, failures = group.told, 0
    most = group.run_config.failure_config.max_failures

    def pass_on() -> None:
        nonlocal last, failures
        for why in run.failures()[failures:most]:  # one more is no restart
            failures += 1
            if not run.failed:
                group.restarts(why)
        for row in group.written():
            if row["epoch"] > last:
                last = row["epoch"]
                group.report(row)
                run.answer(last, go_on=True)

    def follow() -> None:
        try:
            while not over.wait(LOOK):
                pass_on()
        except BaseException as error:  # a stopped trial leaves by SystemExit
            ended.append(error)
            run.answer(last, go_on=False)

    run.forget_answers()
    run.answer(last, go_on=True)
    thread = threading.Thread(target=follow, daemon=True, name="epochs")
    thread.start()
    try:
        yield
        over.set()
        thread.join()
        if not ended:
            pass_on()
    finally:
        over.set()
        thread.join()
        run.forget_answers()
    if ended:
        raise ended[0]
