"""A trial as the study holds it, without its values by epoch: these are in its run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

State = Literal["waiting", "running", "complete", "pruned", "failed"]
STATES: dict[str, State] = {  # by Optuna's names
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}
IMPOSSIBLE, PRIOR = "impossible", "prior"  # user attributes that mark a trial
BY_SEED, FAILED_SEEDS = "values_by_seed", "failed_seeds"  # user attributes


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    Attributes:
        number: in the study.
        state: how it ended, or where it is.
        drawn: values by variable.
        values: the objectives of a complete trial.
        constraints: by how much each constraint is broken; 0 or less keeps it.
        began: when it was asked for; None while it waits.
        ended: None until then.
        prior: name of the earlier sweep's trial that it repeats; empty for a trial of this sweep.
        impossible: why its draw cannot be trained; empty if it can.
        by_seed: the objective by seed, in the order of its trainings, where it has several; its
            value is their mean.
        failed_seeds: further seeds whose trainings failed.
    """

    number: int
    state: State
    drawn: Mapping[str, Any] = field(default_factory=dict)
    values: Sequence[float] = field(default_factory=list)
    constraints: Mapping[str, float] = field(default_factory=dict)
    began: datetime | None = None
    ended: datetime | None = None
    prior: str = ""
    impossible: str = ""
    by_seed: Mapping[str, float] = field(default_factory=dict)
    failed_seeds: Sequence[int] = ()

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialRecord:
        """Return a trial of a study that is open in this process."""
        complete = trial.state.name == "COMPLETE"
        return cls(
            trial.number, STATES[trial.state.name], trial.params,
            list(trial.values) if complete else [], trial.constraints,
            trial.datetime_start, trial.datetime_complete,
            prior=trial.user_attrs.get(PRIOR, ""),
            impossible=trial.user_attrs.get(IMPOSSIBLE, ""),
            by_seed=trial.user_attrs.get(BY_SEED, {}),
            failed_seeds=trial.user_attrs.get(FAILED_SEEDS, ()),
        )  # fmt: skip

    @property
    def feasible(self) -> bool:
        """Whether it may be chosen: it breaks no constraint, and no seed of it failed."""
        return not self.failed_seeds and all(by <= 0 for by in self.constraints.values())

    @property
    def own(self) -> bool:
        """Whether it is a trial of this sweep that has begun."""
        return self.state != "waiting" and not self.prior and not self.impossible
