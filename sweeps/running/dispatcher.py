"""Dispatches trainings to Ray Tune's trials, and passes on their reports, losses and ends."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from c2vl.support.errors import StorageFull
from c2vl.training.metrics_file import MetricsFile
from sweeps.planning.cluster_resources import NodeLost, living_node_ids
from sweeps.planning.ray_internals import ADDED_BY_TUNE, forgive_failure
from sweeps.running.stopping import Stop
from sweeps.running.trial import ERROR, NODE, OUTCOME, RESTART, TOLD, UNFIT
from sweeps.spec.training import End, Listener, Outcome, Row, Training, TrainingSource

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

RETURNS = 3  # times that a training whose process was lost before it started is handed out anew
NODE_NEWS = 120.0  # seconds after which a node's death has reached everybody


class Losses:
    """Counts lost processes of trials, except those lost with their node.

    Tune does not count losses that an autoscaler announces, but most spot nodes vanish without
    notice. Ray reports a lost node some seconds after its processes, so this checks repeatedly.
    """

    def __init__(self) -> None:
        self._living: dict[str, set[str]] = {}
        self._suspects: dict[str, tuple[float, set[str]]] = {}

    def started(self, trial: Trial) -> None:
        """A trial has a process, on one of the nodes that live now."""
        self.forgive(trial)
        self._living[trial.trial_id] = living_node_ids()

    def lost(self, trial: Trial) -> None:
        """A trial has lost its process."""
        # One that gets the process of an earlier trial can lose it before it has started
        living = self._living.get(trial.trial_id) or living_node_ids()
        self._suspects[trial.trial_id] = (time.monotonic(), living)

    def forgive(self, trial: Trial) -> None:
        """Do not count a loss that a lost node explains."""
        if trial.trial_id not in self._suspects:
            return
        when, living = self._suspects[trial.trial_id]
        if living - living_node_ids():
            forgive_failure(trial)
            when = 0.0
        if time.monotonic() > when + NODE_NEWS:
            del self._suspects[trial.trial_id]


class Dispatcher:
    """Gives a source's trainings to Tune's trials, and reports events to source and listeners.

    Args:
        stop: checked before each training.
        confirm: returns once it is certain that this driver is the sweep's only one.

    Attributes:
        trainings: those that run, by the id of their Tune trial.
        losses: which lost processes count.
    """

    def __init__(
        self,
        source: TrainingSource,
        listeners: Iterable[Listener],
        stop: Stop,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self.source, self.listeners, self.stop = source, list(listeners), stop
        self._confirm = confirm
        self._figures: dict[str, MetricsFile] = {}  # of runs at a URL, by the training's name
        self.trainings: dict[str, Training] = {}
        self._last: dict[str, Row] = {}
        self._final: dict[str, Row] = {}
        self._nodes: dict[str, str] = {}
        self._attempts: dict[str, int] = {}  # by the training's name
        self._begun: set[str] = set()
        self._returned: deque[Training] = deque()
        self._returns: Counter[str] = Counter()
        self.losses = Losses()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def left(self) -> int:
        """Number of trainings not given out yet."""
        return len(self._returned) + len(self.source)

    def over(self) -> bool:
        """Return whether no more trainings will come."""
        return bool(self.stop) or not self.left()

    def take(self, trial_id: str) -> Training | None:
        """Give the next training to a Tune trial; None where there is none, or none yet."""
        if not self._reached(self._confirm) or self.stop:
            return None
        training = self._returned.popleft() if self._returned else self.source.next()
        if training is not None:
            self.trainings[trial_id] = training
        return training

    def started(self, trial: Trial) -> None:
        """A Tune trial has its process, the first one or another after a loss."""
        training, trial_id = self.trainings[trial.trial_id], trial.trial_id
        self.losses.started(trial)
        self._begun.add(trial_id)
        self._attempt(training)

    def _attempt(self, training: Training) -> None:
        self._attempts[training.name] = self._attempts.get(training.name, 0) + 1
        for listener in self.listeners:
            listener.started(training, self._attempts[training.name])

    def failed(self, trial: Trial) -> None:
        """A Tune trial was lost, and will start again."""
        self._begun.discard(trial.trial_id)
        self.losses.lost(trial)
        if row := self._last.get(trial.trial_id):
            trial.config[TOLD] = row["epoch"]

    def result(self, trial_id: str, result: Row) -> bool:
        """Handle a report; return True to stop the trial."""
        training = self.trainings[trial_id]
        if OUTCOME in result:
            self._final[trial_id] = result
        self._nodes[trial_id] = str(result.get(NODE, ""))
        row = {
            key: value
            for key, value in result.items()
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and key not in ADDED_BY_TUNE
            and "/" not in key
        }
        if RESTART in result:  # of its workers, by Ray Train
            self._attempt(training)
        if row.get("epoch", 0) <= self._last.get(trial_id, {}).get("epoch", 0):
            return False  # none, or told before
        if not self._reached(lambda: self._copy(training, row)):
            return False  # a resume tells it
        self._last[trial_id] = row
        for listener in self.listeners:
            listener.reported(training, row)
        return OUTCOME not in result and self.source.report(training, row)

    def ended(self, trial_id: str, pruned: bool = False, error: str = "") -> None:
        """A Tune trial has ended: by itself, stopped by the source, or by an error."""
        training = self.trainings.pop(trial_id)
        if error and trial_id not in self._begun and self._returns[training.name] < RETURNS:
            # Tune tries again what it has started, but not what it gave to a process of an earlier
            # trial that was dead by then.
            self._returns[training.name] += 1
            self._returned.append(training)
            return
        final = self._final.pop(trial_id, {})
        self._figures.pop(training.name, None)
        outcome: Outcome = final.get(OUTCOME, "interrupted")
        if pruned:
            outcome = "pruned"
        if error:
            outcome = "failed"
        if not self._reached(lambda: self._fetch(training)):
            outcome = "interrupted"  # nobody knows what it has left
        outcome = self.source.end(training, outcome, self._last.pop(trial_id, {}))
        said = error or str(final.get(ERROR, ""))
        if outcome == "failed" and not said:
            said = self.source.reason(training)
        if outcome == "interrupted" and said:  # the others would meet it as well
            self.stop.error = NodeLost(said) if final.get(UNFIT) else StorageFull(said)
            self.stop.request("storage")
        end = End(outcome, said, self._nodes.pop(trial_id, ""), training.warnings())
        for listener in self.listeners:
            listener.ended(training, end)

    def _copy(self, training: Training, row: Row) -> None:
        """Add an epoch to the driver's copy of a run at a URL."""
        self._confirm()
        if training.mirror is None:
            return
        training.folder.mkdir(parents=True, exist_ok=True)
        figures = self._figures.get(training.name) or MetricsFile(training.run.metrics)
        if row["epoch"] > len(figures.rows) + 1:
            training.run.newest_rows()  # others are there that this driver was not told of
            figures = MetricsFile(training.run.metrics)
        figures.add(row)
        self._figures[training.name] = figures

    def _fetch(self, training: Training) -> None:
        """Take what a run at a URL has left, but for checkpoints and encoder."""
        self._confirm()
        training.run.pull()

    def _reached(self, ask: Callable[[], None]) -> bool:
        """Say whether storage answers; where it stays away, the sweep stops."""
        try:
            ask()
        except StorageFull as error:
            self.stop.error = self.stop.error or error
            self.stop.request("storage")
            return False
        return True

    def recall(self) -> None:
        """Take back trainings that Tune lost track of, to give them out again."""
        if not self.stop:
            self._returned += self.trainings.values()
            self.trainings.clear()

    def close(self) -> None:
        """Report trainings that were given out and have not ended as interrupted."""
        self.trainings |= {
            f"returned {place}": training for place, training in enumerate(self._returned)
        }
        self._returned.clear()
        for trial_id in list(self.trainings):
            self.ended(trial_id)
