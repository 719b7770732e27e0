"""Starting, resuming, extending and stopping a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from c2vl.support.errors import Interrupted, UserError, did_you_mean
from c2vl.support.remote import Location
from sweeps.commands.options import ADDRESS, FILE, NAME, OVERRIDES, STORAGE

if TYPE_CHECKING:
    from sweeps.spec.sweep import SweepSettings


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep run sweeps/presets/demo.yaml
  c2vl-sweep run sweeps/presets/demo.yaml name=longer trials=40 train.epochs=80
  c2vl-sweep run sweeps/presets/utd_mhad.yaml sampler.name=random concurrency=1
  c2vl-sweep run --or-resume /shared/sweep.yaml storage=/shared/runs
"""
)
@click.argument("file", type=FILE)
@OVERRIDES
@ADDRESS
@click.option(
    "--or-resume",
    is_flag=True,
    help="Continue the sweep if it has begun: for jobs that a scheduler starts again.",
)
def run(file: Path, overrides: tuple[str, ...], address: str | None, or_resume: bool) -> None:
    """Run the sweep FILE: trials, choice on validation, test scores, report, registered encoder.

    An override names a key of the sweep file, or a setting of its base experiment.
    """
    from sweeps.spec.lock import refresh
    from sweeps.spec.reading import load_sweep

    spec = load_sweep(file, overrides, begun=or_resume)
    refresh(spec.folder)
    if begun := or_resume and spec.folder.begun:
        spec = _continued(spec)
    else:
        if or_resume:  # a new one, which is judged as such
            spec = load_sweep(file, overrides)
        _look_ahead(spec)
    _drive(spec, address, resume=begun)


@click.command(epilog="\b\nExample:\n  c2vl-sweep resume demo concurrency=1\n")
@NAME
@OVERRIDES
@STORAGE
@ADDRESS
def resume(name: str, overrides: tuple[str, ...], storage: Location, address: str | None) -> None:
    """Continue the sweep NAME after Ctrl-C or a kill, to exactly the requested number of trials."""
    _drive(_changed(storage, name, overrides), address, resume=True)


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep extend demo --trials 20
  c2vl-sweep extend demo --trials 20 concurrency=1
"""
)
@NAME
@OVERRIDES
@click.option("--trials", type=click.IntRange(1), required=True, help="How many more.")
@STORAGE
@ADDRESS
def extend(
    name: str, overrides: tuple[str, ...], trials: int, storage: Location, address: str | None
) -> None:
    """Add trials to the sweep NAME, finished or not, in the same study; none is run again.

    Interrupted trials continue first. If this run is interrupted too, `resume` continues to the new
    number. The winner is then chosen among all trials; the former choice stays on record.
    """
    _drive(_changed(storage, name, overrides, more=trials), address, resume=True)


def _look_ahead(spec: SweepSettings) -> None:
    """Tell what is missing before Ray and torch are imported; a resumed sweep has it."""
    from c2vl.training.beforehand import require_data
    from sweeps.spec.checks import data_needs

    if spec.warm_start is not None:
        from sweeps.search.warm_start import check_warm_start

        check_warm_start(spec)
    for experiment in data_needs(spec):
        if not isinstance(experiment.data.store, str):
            require_data(experiment)


def _changed(
    storage: Location, name: str, overrides: tuple[str, ...], *, more: int = 0
) -> SweepSettings:
    """Read a sweep that has begun, and change what may still change."""
    from c2vl.config.reading import override, parse_overrides
    from sweeps.spec.fixed import CHANGEABLE
    from sweeps.spec.reading import parse_sweep, read_sweep

    spec = read_sweep(storage, name)
    changes = parse_overrides(overrides)
    for key in changes:
        if key not in CHANGEABLE:
            near = did_you_mean(key, CHANGEABLE)
            raise UserError(f"{key}: a sweep that has begun keeps it{near}")
    if more:
        changes["trials"] = spec.trials + more
    if changes:
        changed = override(spec.model_dump(mode="json"), changes)
        spec = parse_sweep(changed, name, begun=True)
    return spec


def _continued(spec: SweepSettings) -> SweepSettings:
    """Return the settings that a sweep which has begun continues with, given those of its file.

    Raises:
        UserError: the file has changed a setting that the sweep must keep.
    """
    from sweeps.spec.fixed import require_kept
    from sweeps.spec.reading import read_sweep

    known = read_sweep(spec.storage, spec.name)
    require_kept(known, spec, "the file")
    return spec.model_copy(update={"trials": max(spec.trials, known.trials)})  # it was extended


def _drive(spec: SweepSettings, address: str | None, *, resume: bool) -> None:
    from sweeps.spec.lock import require_free

    require_free(spec.folder, spec.name)
    from sweeps import driver
    from sweeps.spec.store_addresses import shown

    click.echo(f"MLflow: {shown(spec.tracking_uri)}")
    driver.run(spec, address=address, resume=resume)


@click.command(epilog="\b\nExample:\n  c2vl-sweep stop demo\n")
@NAME
@STORAGE
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for its end.",
)
def stop(name: str, storage: Location, timeout: float) -> None:
    """Ask the running sweep NAME to stop after its running epochs, and wait until it has.

    It works from any host that sees the sweep's folder. `resume` continues the sweep.
    """
    from sweeps.running.stopping import ask_to_stop, wait_for_end
    from sweeps.spec.reading import read_sweep

    spec = read_sweep(storage, name)
    asked = ask_to_stop(spec.folder)
    if asked is None:
        click.echo(f"{name}: nothing runs it")
        return
    click.echo(f"{name}: asked {asked}; it ends after the running epochs")
    try:
        ended = wait_for_end(spec.folder, timeout)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{name}: was asked to stop, and will; wait on with c2vl-sweep stop {spec.words}"
        ) from None
    if not ended:
        raise UserError(
            f"{name}: still runs after {timeout:g} s: epochs take longer, or MLflow is waited for; "
            f"wait on with c2vl-sweep stop {name} --timeout SECONDS, or end {asked.split(',')[0]}"
        )
    from sweeps.report.status import COUNTS, state  # only now: asking must not wait for it

    now = state(spec)
    click.echo(f"{name}: stopped  " + "  ".join(f"{key} {now[key]}" for key in COUNTS))
    if now["unfinished"]:
        click.echo(f"go on with it: c2vl-sweep resume {name}")
