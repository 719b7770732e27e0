"""A study as the source of trials: proposes, prunes and records them over any number of restarts.

A restart hands out a trial that a kill left RUNNING again, under its number, with its parameters
and its run folder: the count stays exact, and the training resumes from its checkpoint. The study
first receives the epochs in the run folder that it does not know, in order. So proposals and
pruning do not depend on where a sweep was interrupted.

With ``repeats`` a trial that has run to its end stays RUNNING in the study while it gets further
seeds, each a training of its own among the final ones, which a choice over seeds then finds done.
The study receives the mean. A restart hands out the trial's own training again, which is done and
ends at once, and likewise its repeats. Where a further seed fails, the trial is complete with the
mean of those before it, and never chosen.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections import deque
from concurrent.futures import Future

import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from c2vl.support.errors import UserError
from sweeps.search.budget import Budget
from sweeps.search.optuna_internals import is_enqueued, running_trial
from sweeps.search.pruners import DurablePruner, pruner
from sweeps.search.samplers import sampler
from sweeps.search.storage import Order, open_storage
from sweeps.search.study import (
    StudyReader,
    further_seeds,
    name_of,
    repeat,
    repeats_of,
    training_of,
)
from sweeps.search.trial_record import BY_SEED, FAILED_SEEDS, IMPOSSIBLE, TrialRecord
from sweeps.search.warm_start import known_trials, starting_points
from sweeps.spec.capabilities import grid_points
from sweeps.spec.constraints import impossible, violations
from sweeps.spec.objective import objective_values
from sweeps.spec.space import draw
from sweeps.spec.store_addresses import shown
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Outcome, Row, Training

log = logging.getLogger(__name__)
ENQUEUED, OWNER = "points enqueued", "sweep_id"
DRAWS_IN_A_ROW = 1000  # impossible ones, after which the space practically has no others
# A sampler learns nothing from an impossible draw and may repeat it for ever: after so many in a
# row the next ones are random.
STUBBORN = 5


class TrialSource(StudyReader):
    """Gives out a study's trials; one thread makes all calls of the study, in order.

    Args:
        identity: distinguishes it from another sweep of the same name in the same storage.

    Attributes:
        budget: the hours used; a listener of the engine.

    Raises:
        UserError: the storage cannot be used, or holds another sweep of this name.
    """

    def __init__(self, spec: SweepSettings, identity: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = open_storage(spec.study_uri, spec.study_patience)
        self.study = optuna.create_study(
            study_name=spec.name,
            storage=self._storage,
            directions=[objective.direction for objective in spec.objectives],
            load_if_exists=True,
        )
        super().__init__(spec, self._records)
        if (owner := self.study.user_attrs.get(OWNER, identity)) != identity:
            raise UserError(
                f"study: {shown(spec.study_uri)} holds another sweep called {spec.name} ({owner}); "
                "choose another name"
            )
        self.study.set_user_attr(OWNER, identity)
        self._enqueue()
        self.study.pruner = pruner(spec.pruner, spec.max_epochs, self.study)
        self._pruner = DurablePruner(self.study, self._storage, spec.pruner)
        self.budget = Budget(spec, self._trained())
        self._trials: dict[str, Trial] = {}
        self._epochs: dict[str, int] = {}  # the last that the study knows, by training
        self._pruned: set[str] = set()
        self._pending: dict[str, list[Future[bool]]] = {}
        self._interrupted: deque[tuple[Training, Trial]] = deque()
        self._asking: Future[Training | None] | None = None
        self._dropped = self._dropped_last()
        for running in self.trials("running"):
            self._adopt(running.number)
        self._created = len(self.trials())
        self._order = Order()
        self._repeats: deque[Training] = deque()
        self._by_seed: dict[int, dict[str, float]] = {}  # of trials that may get another seed
        self._own: dict[int, tuple[Training, list[Row]]] = {}  # their first trainings, with figures
        self._means: dict[int, list[float]] = {}  # of all trials with so many seeds; more is better
        for trial in self.trials("complete") if spec.repeats > 1 else ():
            values = list(trial.by_seed.values()) or [*trial.values]
            for seeds in range(1, len(values) + 1):
                self._note_mean(values[:seeds])

    def close(self) -> None:
        """Stop waiting for the study: the run folders hold all that it has not received."""
        self._storage.give_up()

    def _enqueue(self) -> None:
        """Enqueue the points to try first; of a grid also those that an extension adds."""
        spec, done = self.spec, int(self.study.user_attrs.get(ENQUEUED, 0))
        if spec.sampler.name == "grid":
            points = grid_points(spec)[: spec.trials]
        elif done:
            return
        else:
            for trial in known_trials(spec, self.study):
                self.study.add_trial(trial)
            points = [*spec.points, *starting_points(spec)][: spec.trials]
        for point in points[done:]:
            self.study.enqueue_trial(point, skip_if_exists=True)  # after a kill, too
        self.study.set_user_attr(ENQUEUED, max(1, len(points)))

    def _dropped_last(self) -> int:
        """Return how many of the last draws were impossible, in a row."""
        found = 0
        for trial in reversed(self.study.get_trials(deepcopy=False)):
            if trial.state == TrialState.WAITING:
                continue
            if not trial.user_attrs.get(IMPOSSIBLE):
                break
            found += 1
        return found

    def _trained(self) -> float:
        """Return the seconds of training in the run folders, if a limit needs them."""
        if self.spec.max_cpu_hours is None and self.spec.max_gpu_hours is None:
            return 0.0
        spec, trials = self.spec, self.trials()
        folders = [spec.folder.trials / name_of(spec, trial.number) for trial in trials]
        folders += [again.folder for trial in trials for again in repeats_of(spec, trial)]
        runs = map(spec.folder.run, folders)
        return float(sum(np.nansum(run.table(["seconds"])) for run in runs))

    # --- called by the engine -------------------------------------------------------------------

    def __len__(self) -> int:
        fresh = 0 if self.budget.spent() else max(0, self.spec.trials - self._created)
        # Any that runs may get another seed, and the engine must ask for it
        seeds = len(self._trials) if self.spec.repeats > 1 else 0
        return len(self._interrupted) + fresh + (self._asking is not None) + seeds

    def next(self) -> Training | None:
        if self._asking is None:
            if not len(self):
                return None
            self._asking = self._order.submit(self._ask)
        if not self._order.wait(self._asking):
            return None  # the study is away, or the sampler slow: the engine asks again
        training, self._asking = self._asking.result(), None
        if training is not None:
            self._pending[training.name] = []
        return training

    def report(self, training: Training, row: Row) -> bool:
        if training.kind == "repeat":
            return False  # its trial stands by the mean over whole trainings
        future = self._order.submit(
            lambda: self._catch_up(training, self._trials[training.name], row)
        )
        waiting = self._pending[training.name]
        waiting.append(future)
        try:
            self._order.wait(future)
        except Exception:
            return False  # the study is lost: the next call of `next` raises
        done = [one for one in waiting if one.done()]
        self._pending[training.name] = [one for one in waiting if not one.done()]
        if any(one.exception() is None and one.result() for one in done):
            self._pruned.add(training.name)
            return True
        return False

    def end(self, training: Training, outcome: Outcome, row: Row) -> Outcome:
        if outcome == "complete" and training.name in self._pruned:
            outcome = "pruned"
        self._pending.pop(training.name, None)
        if outcome == "interrupted":
            return outcome  # the trial stays RUNNING until a resume
        rows = [*training.rows(), row] if row else training.rows()
        values = objective_values(self.spec.objectives, rows) if outcome == "complete" else None
        if outcome == "complete" and values is None:
            outcome = "failed"
        future = self._order.submit(lambda: self._settle(training, outcome, values, rows))
        try:
            self._order.wait(future)
        except Exception:
            pass  # as above
        return outcome

    def reason(self, training: Training) -> str:
        rows, objectives = training.rows(), self.spec.objectives
        lacking = [one.metric for one in objectives if one.value(rows) is None]
        return f"never reported {', '.join(lacking)}, which it is judged by, as a finite number"

    def _records(self) -> list[TrialRecord]:
        if hasattr(self, "_order"):
            self._order.drain()
        return [TrialRecord.of(trial) for trial in self.study.get_trials(deepcopy=False)]

    # --- done by the study's thread, in order ----------------------------------------------------

    def _ask(self) -> Training | None:
        for _ in range(DRAWS_IN_A_ROW):
            if self._repeats:
                return self._repeats.popleft()
            if self._interrupted:
                training, trial = self._interrupted.popleft()
            elif self._created < self.spec.trials and not self.budget.spent():
                trial = self._new_trial()
                drawn = self._draw(trial)
                if drawn is None:
                    continue
                training = drawn
                self._created += 1
            else:
                return None
            self._trials[training.name] = trial
            return training
        raise UserError(
            f"space: {DRAWS_IN_A_ROW} draws in a row are impossible (see the last warning); "
            "widen the space, or loosen the constraints"
        )

    def _new_trial(self) -> Trial:
        before = self._storage.interruptions
        trial = self.study.ask()
        if self._storage.interruptions > before:
            own = {*self._trials.values(), trial, *(known for _, known in self._interrupted)}
            self._find_unanswered({one.number for one in own})
        return trial

    def _find_unanswered(self, known: set[int]) -> None:
        """Adopt or drop trials that the storage created although its answer was lost."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for frozen in running:
            if frozen.number in known:
                continue
            if is_enqueued(frozen):
                self._created += self._adopt(frozen.number)
            else:
                self._drop(running_trial(self.study, self._id(frozen.number)), "asked for twice")

    def _id(self, number: int) -> int:
        """Return the storage's id of a trial."""
        study_id = self._storage.get_study_id_from_name(self.spec.name)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _adopt(self, number: int) -> bool:
        """Take over a RUNNING trial; return whether it counts."""
        trial = running_trial(self.study, self._id(number))
        training = self._draw(trial)
        if training is None:
            return False
        for row in training.rows():
            if self._report(trial, training, row):
                self.study.tell(trial, state=TrialState.PRUNED)
                return True
        self._interrupted.append((training, trial))
        return True

    def _draw(self, trial: Trial) -> Training | None:
        """Return the training of a new trial; None for an impossible draw, which is marked."""
        self.study.sampler = sampler(
            self.spec.sampler,
            trial.number,
            plain=self._dropped >= STUBBORN,
            prunes=self.spec.pruner.name != "none",
        )
        try:
            training = training_of(self.spec, trial.number, draw(self.spec.space, trial))
            reason = impossible(self.spec.rules, training.experiment)
        except UserError as error:  # a rare draw that the checks of the space did not make
            reason = str(error)
        if reason:
            self._drop(trial, reason)
            self._dropped += 1
            return None
        self._dropped = 0
        return training

    def _drop(self, trial: Trial, reason: str) -> None:
        log.info("draw %d: %s; drawn again", trial.number, reason)
        trial.set_user_attr(IMPOSSIBLE, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _catch_up(self, training: Training, trial: Trial, row: Row) -> bool:
        """Report an epoch, after any earlier ones that a lost process did not report."""
        last = self._epochs.get(training.name, 0)
        rows = [row]
        if row["epoch"] > last + 1:
            rows = [old for old in training.rows() if last < old["epoch"] < row["epoch"]] + rows
        return any(self._report(trial, training, one) for one in rows)

    def _report(self, trial: Trial, training: Training, row: Row) -> bool:
        """Store an epoch's value once, and ask the pruner; True asks to stop the trial."""
        self._epochs[training.name] = max(row["epoch"], self._epochs.get(training.name, 0))
        if len(self.spec.objectives) > 1:
            return False
        value = row.get(self.spec.objectives[0].metric)
        if value is None or not math.isfinite(value):
            return False
        trial_id = self._id(trial.number)
        frozen = self._storage.get_trial(trial_id)
        if row["epoch"] not in frozen.intermediate_values:
            trial.report(float(value), row["epoch"])
        elif row["epoch"] != frozen.last_step:
            return False  # the pruner decided long ago
        if row["epoch"] >= training.experiment.train.epochs:
            return False
        return self._pruner.stops(trial_id, row["epoch"])

    def _settle(
        self, training: Training, outcome: Outcome, values: list[float] | None, rows: list[Row]
    ) -> None:
        """Tell the study of a trial's end, unless it gets another seed."""
        ended = training.name
        trial = self._trials[ended]
        if self.spec.repeats > 1:
            own = self._own.setdefault(trial.number, (training, rows))
            by_seed = self._by_seed.setdefault(trial.number, {})
            if values is not None:
                by_seed[str(training.experiment.seed)] = values[0]
                if (again := self._repeat(own[0], list(by_seed.values()))) is not None:
                    self._trials[again.name] = trial
                    self._repeats.append(again)
                    del self._trials[ended]
                    return
            if by_seed:
                trial.set_user_attr(BY_SEED, by_seed)
                if outcome == "failed":
                    trial.set_user_attr(FAILED_SEEDS, [training.experiment.seed])
                outcome, values = "complete", [statistics.mean(by_seed.values())]
            training, rows = self._own.pop(trial.number)
            del self._by_seed[trial.number]
        del self._trials[ended]
        self._tell(trial, training, outcome, values, rows)

    def _repeat(self, own: Training, values: list[float]) -> Training | None:
        """Return a trial's next training: asynchronous successive halving, with seeds as rungs."""
        spec, seeds = self.spec, len(values)
        best = self._note_mean(values)
        if seeds >= spec.repeats:
            return None
        again = repeat(spec, own, further_seeds(spec)[seeds - 1])
        among = max(len(self._means[seeds]) // spec.pruner.reduction, 1)
        # What began before a restart goes on, whatever others have reached since
        if (best <= among and not self.budget.spent()) or again.rows() or again.run.failed:
            return again
        return None

    def _note_mean(self, values: list[float]) -> int:
        """Note the mean over so many seeds; return its place among the others', 1 for the best."""
        mean = self.spec.objectives[0].sign * statistics.mean(values)
        others = self._means.setdefault(len(values), [])
        others.append(mean)
        return 1 + sum(other > mean for other in others)

    def _tell(
        self,
        trial: Trial,
        training: Training,
        outcome: Outcome,
        values: list[float] | None,
        rows: list[Row],
    ) -> None:
        if outcome != "failed":
            known = self._storage.get_trial(self._id(trial.number))
            found = violations(self.spec.rules, training.experiment, rows)
            # The Gaussian process wants as many constraints of every trial
            if FAILED_SEEDS in known.user_attrs and self.spec.sampler.name != "gp":
                found[FAILED_SEEDS] = 1.0
            for rule, broken in found.items():
                if rule not in known.constraints:
                    trial.set_constraint(rule, broken)
        if outcome == "complete":
            self.study.tell(trial, values)
        else:
            state = TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL
            self.study.tell(trial, state=state)
