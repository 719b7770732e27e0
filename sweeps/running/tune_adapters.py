"""Adapters from Ray Tune's interfaces to the dispatcher; their pickles leave it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from c2vl.config.reading import resolved
from sweeps.planning.cluster_resources import NodeLost, OwnNode
from sweeps.planning.ray_internals import error_text
from sweeps.running.dispatcher import Dispatcher
from sweeps.spec.training import Row


class TuneSearcher(Searcher):
    """Gives Tune the source's next training as a trial's configuration."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        concurrency: Callable[[], int],
        max_failures: int,
        shared: tuple[str, str] | None,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._dispatcher, self._concurrency = dispatcher, concurrency
        self._max_failures, self._shared = max_failures, shared

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        if self._dispatcher.trainings and len(self._dispatcher.trainings) >= self._concurrency():
            return None  # Tune asks again
        training = self._dispatcher.take(trial_id)
        if training is None:
            return Searcher.FINISHED if self._dispatcher.over() else None
        return {
            "name": training.name,
            "folder": str(training.run),
            "kind": training.kind,
            "max_failures": self._max_failures,
            "shared": self._shared,
            "experiment": resolved(training.experiment).model_dump(mode="json"),
        }

    def on_trial_complete(
        self, trial_id: str, result: Row | None = None, error: bool = False
    ) -> None:
        """The callback handles ends, since it also receives the error."""

    def save(self, checkpoint_path: str) -> None:
        """The study keeps the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The study keeps the state."""


class TuneScheduler(FIFOScheduler):
    """Passes reports on, and stops the trials that the source asks to stop."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dispatcher = dispatcher
        self.pruned: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Row) -> str:
        if result.get("done"):  # Tune repeats the last report when the function has returned
            return str(TrialScheduler.CONTINUE)
        self._dispatcher.losses.forgive(trial)
        if self._dispatcher.result(trial.trial_id, result):
            self.pruned.add(trial.trial_id)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)


class TuneCallback(Callback):
    """Passes on that trials start, are lost and end."""

    def __init__(self, dispatcher: Dispatcher, scheduler: TuneScheduler) -> None:
        self._dispatcher, self._scheduler = dispatcher, scheduler

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._dispatcher.started(trial)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._dispatcher.failed(trial)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._dispatcher.ended(trial.trial_id, pruned=trial.trial_id in self._scheduler.pruned)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        error = error_text(trial) or "the trial's process was lost"
        self._dispatcher.ended(trial.trial_id, error=error)


class TuneStopper(Stopper):
    """Ends the experiment when a stop is requested, or when the driver's own node is lost."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher, self._node = dispatcher, OwnNode()

    def __call__(self, trial_id: str, result: Row) -> bool:
        return False

    def stop_all(self) -> bool:
        stop = self._dispatcher.stop
        for listener in self._dispatcher.listeners:
            listener.turned()
        if not stop and self._node.gone():
            stop.error = NodeLost("the Ray node that this driver runs on is lost")
            stop.request("node")
        return bool(stop)
