"""The records of a sweep: brought into agreement."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sweeps.commands.options import NAME, STORAGE


@click.command(
    epilog="\b\nExamples:\n  c2vl-sweep reconcile demo --check\n  c2vl-sweep reconcile demo\n"
)
@NAME
@STORAGE
@click.option("--check", is_flag=True, help="Change nothing; status 1 if they differ.")
def reconcile(name: str, storage: Path, check: bool) -> None:
    """Bring MLflow to what the study says of the sweep NAME, without running a trial.

    Afterwards no run is RUNNING, each trial has exactly one run, and every epoch that was trained
    stands in it once. A trial that was cut off is KILLED there, until `resume` goes on with it.
    """
    from sweeps.lock import locked
    from sweeps.reconciliation import differences, mend
    from sweeps.spec import read_sweep

    spec = read_sweep(storage, name)
    with locked(spec.folder, name, make=False):
        found = differences(spec)
        if found and not check:
            mend(spec, found)
    for difference in found:
        click.echo(f"{difference.run}: {difference}")
    if not found:
        click.echo(f"{name}: MLflow says what the study says")
    elif check:
        click.echo(f"{len(found)} differences; put right by: c2vl-sweep reconcile {name}")
        sys.exit(1)
    else:
        click.echo(f"{name}: {len(found)} differences put right")
