"""The size of a sweep: trainings, epochs, disk and, once calibrated, hours and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from c2vl.config.experiment import Experiment
from c2vl.skeletons.store import Store
from sweeps.spec.rungs import rungs
from sweeps.spec.space import RandomDraws, draw, experiment
from sweeps.spec.sweep import SweepSettings

if TYPE_CHECKING:
    from sweeps.planning.calibration import Calibration

SMALL_FILES = 200_000  # bytes of a training: settings, figures, its part of the databases
SAMPLED = 200


@dataclass(frozen=True)
class Plan:
    """The size of a sweep.

    Attributes:
        trials: of the search.
        finals: trainings after the search, at most.
        repeats: further seeds of trials, in the search, about.
        at_once: trials at the same time; None if unknown.
        epochs: of the longest trial.
        share: expected share of a trial's epochs that the pruner lets it train.
        assumption: about the pruner, behind ``share``.
    """

    trials: int
    finals: int
    repeats: int
    at_once: int | None
    epochs: int
    share: float
    assumption: str

    @property
    def total_epochs(self) -> float:
        """Expected number of epochs of the whole sweep."""
        return self.epochs * (self.trials * self.share + self.repeats + self.finals)


def plan(spec: SweepSettings, fitting: int | None) -> Plan:
    """Return the size of a sweep; ``fitting`` of its trials fit at once, if that is known."""
    at_once = fitting if spec.concurrency is None else min(spec.concurrency, fitting or 0) or None
    share, assumption = expected_share(spec)
    return Plan(
        spec.trials, _finals(spec), _repeats(spec), at_once, spec.max_epochs, share, assumption
    )


def _finals(spec: SweepSettings) -> int:
    """Return the most trainings after the search; a trial's own seed is not trained again."""
    seeds = len(spec.final.seeds)
    own = spec.base.seed in spec.final.seeds and "seed" not in spec.space
    again = spec.final.candidates * max(0, seeds - own)
    beside = len(spec.final.trained)
    return again + (beside * max(1, seeds) if spec.final.test else 0)


def _repeats(spec: SweepSettings) -> int:
    """Return how many further seeds trials get, if none is stopped before it has its first."""
    rungs = range(1, spec.repeats)
    return sum(max(spec.trials // spec.pruner.reduction**rung, 1) for rung in rungs)


def expected_share(spec: SweepSettings) -> tuple[float, str]:
    """Return the share of a trial's epochs that the pruner lets it train on average, and why.

    Successive halving in its ideal form (Jamieson and Talwalkar, AISTATS 2016): one in
    ``reduction`` continues at each rung. Run asynchronously (Li et al., MLSys 2020) the first
    trials at a rung continue as well, so that short sweeps train more than this.
    """
    settings, total = spec.pruner, spec.max_epochs
    if settings.name == "none":
        return 1.0, "no trial is stopped early"
    if settings.name == "median":
        return 0.75, "half of the trials are stopped, halfway on average"
    r = settings.reduction
    if settings.name == "asha":
        share = _halving(spec, settings.min_epochs, total)
        return share, f"one in {r} goes on at each rung from epoch {settings.min_epochs} on"
    if settings.name != "hyperband":
        assert_never(settings.name)
    starts = []
    start = settings.min_epochs
    while start < total:
        starts.append(start)
        start *= r
    shares = [_halving(spec, start, total) for start in starts] or [1.0]
    mean = sum(shares) / len(shares)
    return mean, f"brackets of equal size; one in {r} goes on at each of their rungs"


def _halving(spec: SweepSettings, start: int, total: int) -> float:
    """Return the share of the epochs when one in ``reduction`` continues at each rung."""
    trained, alive, before = 0.0, 1.0, 0
    for rung in rungs(spec, start, total):
        trained += alive * (rung - before)
        alive, before = alive / spec.pruner.reduction, rung
    return (trained + alive * (total - before)) / total


def disk(spec: SweepSettings, at_once: int | None) -> float:
    """Return the most bytes that trials write, all encoders kept.

    Encoders stay in the run folders and in MLflow, checkpoints while a trial runs. The largest
    model of some draws stands for all.

    Raises:
        UserError: the store is not there.
    """
    encoder, whole = 0, 0
    seeds = map(RandomDraws, range(SAMPLED))
    drawn = [experiment(spec.base, spec.space, draw(spec.space, seed)) for seed in seeds]
    models = {(s.model, s.train.ema > 0, s.optim.name): s for s in [spec.base, *drawn]}
    largest = sorted(models.values(), key=_widths)[-3:]
    layout = Store.open(spec.base.data.store).layout
    for settings in largest:
        from c2vl.encoder import build  # torch: only now

        model = build(layout, settings.model.model_dump())
        weights = sum(4 * tensor.numel() for tensor in model.state_dict().values())
        copies = 1 + (settings.train.ema > 0) + (2 if settings.optim.name == "adamw" else 1)
        encoder, whole = max(encoder, weights), max(whole, copies * weights)
    trainings = spec.trials + _repeats(spec) + _finals(spec)
    kept = spec.base.train.keep_checkpoints + 1
    return trainings * (2 * encoder + SMALL_FILES) + (at_once or 1) * kept * whole


def _widths(settings: Experiment) -> float:
    """What grows with the size of a backbone's weights, whatever its settings are called."""
    values = settings.model.model_dump().values()
    return sum(value**2 for value in values if isinstance(value, int))


def lines(spec: SweepSettings, coming: Plan, measured: Calibration | None) -> list[tuple[str, str]]:
    """Return the size of a sweep in words, as (what, how much)."""
    train = spec.base.train
    at_once = f", {coming.at_once} at once" if coming.at_once else ""
    again = f", about {coming.repeats} more seeds of the best" if coming.repeats else ""
    after = f", then up to {coming.finals} more trainings" if coming.finals else ""
    found = [
        ("trials", f"{coming.trials}{again}{at_once}{after}"),
        ("epochs", f"up to {coming.epochs} a trial; about {coming.total_epochs:.0f} in all"),
        ("assumed", coming.assumption),
    ]
    if measured is None:
        return [*found, ("time", "not known; --calibrate measures it")]
    each = measured.training(spec.base, coming.epochs)
    search = coming.trials * measured.training(spec.base, coming.epochs * coming.share)
    hours = (search + (coming.repeats + coming.finals) * each) / 3600
    cost = f"{hours * train.workers * train.cpus_per_worker:.2g} CPU hours"
    if train.gpus_per_worker:
        cost += f", {hours * train.workers * train.gpus_per_worker:.2g} GPU hours"
    steps = f"{measured.steps} steps of {1000 * measured.step:.3g} ms an epoch"
    full = f"{each / 60:.2g} min a full trial"
    wall = f"{hours / (coming.at_once or 1):.2g} h in all"
    return [
        *found,
        ("measured", f"{steps}, {measured.evaluation:.2g} s a validation"),
        ("time", f"{full}; {wall}, without Ray's start and the test figures"),
        ("cost", cost),
    ]
