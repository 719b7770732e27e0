"""Runs trainings on Ray Tune, which places trials, retries lost ones and carries their reports.

The :class:`~sweeps.spec.training.TrainingSource` decides what to run and when to stop it; the
engine reports all events to it and to the listeners.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ray import tune

from c2vl.support.errors import StorageFull, UserError, is_disk_full
from sweeps.running.dispatcher import Dispatcher
from sweeps.running.stopping import Stop
from sweeps.running.tune_adapters import TuneCallback, TuneScheduler, TuneSearcher, TuneStopper
from sweeps.spec.training import Listener, TrainingSource

Trainable = Callable[[dict[str, Any]], None]
PASSES = 3


def run_trainings(
    source: TrainingSource,
    *,
    name: str,
    folder: Path,
    trainable: Trainable,
    listeners: Iterable[Listener],
    stop: Stop,
    concurrency: Callable[[], int],
    bundles: list[dict[str, float]],
    max_failures: int,
    reuse: bool = True,
    shared: tuple[str, str] | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Run all trainings of a source; return when it is empty or a stop is requested.

    Listeners receive trainings that a stop ended early as "interrupted".

    Args:
        source: gives trainings, and says which of them to stop.
        name: of the Tune experiment.
        folder: holds Tune's own files.
        trainable: runs one training (:func:`sweeps.running.trial.run`).
        stop: ends it early.
        concurrency: returns how many trainings may run at once now; at least one always may.
        bundles: resources of a training, one for each of its processes.
        max_failures: losses that a training survives, not counting those of whole nodes.
        reuse: run the next training in the process of one that has ended.
        shared: a file that every process of a training must see, on whatever node it starts, and
            what stands in it.
        confirm: returns once it is certain that this driver is the sweep's only one.

    Raises:
        UserError: trainings are left, and no stop was requested.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    dispatcher = Dispatcher(source, listeners, stop, confirm)
    try:
        for _ in range(PASSES):
            if dispatcher.over():
                return
            scheduler = TuneScheduler(dispatcher)
            tuner = tune.Tuner(
                tune.with_resources(trainable, tune.PlacementGroupFactory(bundles)),
                tune_config=tune.TuneConfig(
                    search_alg=TuneSearcher(dispatcher, concurrency, max_failures, shared),
                    scheduler=scheduler,
                    num_samples=-1,  # as many as the searcher gives
                    # The next trial in the same process starts at once, everything imported.
                    reuse_actors=reuse,
                    trial_name_creator=lambda trial: str(trial.config["name"]),
                    trial_dirname_creator=lambda trial: str(trial.config["name"]),
                ),
                run_config=tune.RunConfig(
                    name=name,
                    storage_path=str(folder),
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    callbacks=[TuneCallback(dispatcher, scheduler)],
                    stop=TuneStopper(dispatcher),
                    verbose=0,
                ),
            )
            try:
                tuner.fit()
            except Exception as error:
                if not is_disk_full(error):
                    raise
                full = f"{folder.parent}: no room is left for the sweep ({error})"
                stop.error = StorageFull(full)
                stop.request("storage")
            dispatcher.recall()
        left = dispatcher.left()
    finally:
        dispatcher.close()
    if left and not stop:
        raise UserError(
            f"{name}: Ray Tune left out {left} trainings {PASSES} times; go on with them: "
            f"c2vl-sweep resume {name}"
        )
