"""Removes checkpoints and encoders of ended trials, except those that ``keep`` asks for.

A kill at any point can only leave extra files, and the next start removes them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.choosing.final_choice import former_winners
from sweeps.choosing.final_trainings import is_base
from sweeps.spec.constraints import violations
from sweeps.spec.objective import objective_values, ranked
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import End, Listener, Outcome, Training


class DiskCleanup(Listener):
    """Removes what ``keep`` does not name.

    It ranks trials as the study does, but reads their run folders, so an unreachable study does not
    delay it.

    Args:
        ended: all trials that have ended before this start.
    """

    def __init__(self, spec: SweepSettings, ended: Iterable[tuple[Training, Outcome]]) -> None:
        self._spec, self._former = spec, former_winners(spec.folder)
        self._values: dict[int, list[float]] = {}
        self._full: dict[int, Training] = {}  # trials that have more than most will keep
        trainings = list(ended)
        for training, outcome in trainings:
            self._rank(training, outcome)
        leading = self._leading()
        for training, outcome in trainings:
            self._settle(training, outcome, leading)

    def ended(self, training: Training, end: End) -> None:
        """Remove the training's surplus files, and those of trials that it outranks."""
        if end.outcome == "interrupted":
            return
        if training.kind != "trial":
            _drop_checkpoints(training)
            return
        self._rank(training, end.outcome)
        leading = self._leading()
        self._settle(training, end.outcome, leading)
        for other in list(self._full.values()):
            self._settle(other, "complete", leading)

    def encoders(self) -> list[Training]:
        """The trials whose encoders stay, best first; none where all stay."""
        wanted = self._spec.keep.encoders
        numbers = [] if wanted == "all" else self._leading()[:wanted]
        return [self._full[number] for number in numbers]

    def _rank(self, training: Training, outcome: Outcome) -> None:
        rows = training.rows() if outcome == "complete" else []
        values = objective_values(self._spec.objectives, rows)
        broken = violations(self._spec.rules, training.experiment, rows).values()
        if values is not None and all(by <= 0 for by in broken):
            self._values[training.number] = values

    def _leading(self) -> list[int]:
        """Numbers of the trials that are ranked, best first."""
        return ranked(self._spec.objectives, self._values)

    def _settle(self, training: Training, outcome: Outcome, leading: list[int]) -> None:
        keep = self._spec.keep
        complete = outcome == "complete"
        checkpoint = complete and training.number in leading[: keep.checkpoints]
        if not checkpoint:
            _drop_checkpoints(training)
        encoder = complete and (
            keep.encoders == "all"
            or training.number in leading[: keep.encoders]
            or training.number in self._former  # it may win again
            or is_base(self._spec, training)  # a row of the final table may need it
        )
        if complete and not encoder and training.run.encoder.exists():
            training.run.drop_encoder()
        self._full.pop(training.number, None)
        if checkpoint or (encoder and keep.encoders != "all"):
            self._full[training.number] = training


def _drop_checkpoints(training: Training) -> None:
    if training.run.checkpoints.exists():  # at a URL the copy has an empty folder for them
        training.run.drop_checkpoints()
