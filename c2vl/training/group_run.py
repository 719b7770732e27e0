"""One training on a group of Ray Train workers, for whichever trainer runs the group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Report = Callable[[Row], None]
Loop = Callable[[dict[str, Any], Report], None]


@dataclass(frozen=True)
class GroupRun:
    """What :mod:`c2vl.training.train_group` and :mod:`c2vl.training.documented_trainer` run.

    Attributes:
        loop: called on every worker with the job and whom to tell of an epoch; a function of a
            module.
        job: what the state API of Ray Train shows as the run's configuration.
        report: called in the launcher's process with each epoch's figures; an exception in it ends
            the workers' loops and is raised.
        written: returns the figures of the epochs in the run's folder.
        told: the last epoch that need not be told.
        restarts: called with the reason, before the workers start again.
        scaling_config: of the trainer.
        run_config: of the trainer.
    """

    loop: Loop
    job: dict[str, Any]
    report: Report
    written: Callable[[], list[Row]]
    told: int
    restarts: Callable[[str], None]
    scaling_config: Any
    run_config: Any
