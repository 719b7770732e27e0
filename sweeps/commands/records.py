"""Reconciling and deleting the records of a sweep."""

from __future__ import annotations

import sys

import click

from c2vl.support.errors import UserError
from c2vl.support.remote import Location
from sweeps.commands.options import NAME, STORAGE


@click.command(
    epilog="\b\nExamples:\n  c2vl-sweep reconcile demo --check\n  c2vl-sweep reconcile demo\n"
)
@NAME
@STORAGE
@click.option("--check", is_flag=True, help="Change nothing; status 1 if they differ.")
def reconcile(name: str, storage: Location, check: bool) -> None:
    """Make MLflow agree with the study of the sweep NAME, without running a trial.

    Afterwards no run is RUNNING, each trial has exactly one run, and the run has every trained
    epoch once. The run of an interrupted trial is KILLED, until `resume` continues the trial.
    """
    from sweeps.spec.lock import locked
    from sweeps.spec.reading import read_sweep
    from sweeps.tracking.backlog import waiting
    from sweeps.tracking.reconciliation import differences, mend
    from sweeps.tracking.tracker import deliver

    spec = read_sweep(storage, name)
    with locked(spec.folder, name, make=False):
        if not check and (delivered := deliver(spec, spec.folder.identity())):
            click.echo(f"{name}: {delivered} runs written that had waited for MLflow")
        elif wait := waiting(spec.folder):
            click.echo(f"{name}: {wait} runs wait for MLflow")
        found = differences(spec)
        if found and not check:
            mend(spec, found)
    for difference in found:
        click.echo(f"{difference.run}: {difference.says}")
    if not found:
        click.echo(f"{name}: MLflow says what the study says")
    elif check:
        click.echo(f"{len(found)} differences; put right by: c2vl-sweep reconcile {name}")
        sys.exit(1)
    else:
        click.echo(f"{name}: {len(found)} differences put right")


@click.command(epilog="\b\nExamples:\n  c2vl-sweep delete demo\n  c2vl-sweep delete demo --yes\n")
@NAME
@STORAGE
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, storage: Location, yes: bool) -> None:
    """Delete the sweep NAME: its runs in MLflow, its study, its folder with every encoder in it.

    MLflow keeps deleted runs until `mlflow gc`, and registered versions of the model stay there.
    If it is interrupted, the same command continues. It refuses a sweep that runs.
    """
    from sweeps.spec.lock import locked
    from sweeps.spec.reading import read_sweep
    from sweeps.spec.sweep_folder import SweepFolder
    from sweeps.tracking.deletion import delete as remove
    from sweeps.tracking.deletion import finish, look

    if name not in SweepFolder.names(storage) and finish(storage, name):
        click.echo(f"{name}: deleted; only files were left of it")
        return
    spec = read_sweep(storage, name)
    with locked(spec.folder, name, make=False):
        doomed = look(spec)
        size = f"{doomed.size / 1e6:.1f} MB"
        click.echo(f"{name}: {len(doomed.runs)} runs in MLflow, the study, {spec.folder} ({size})")
        if not yes and not click.confirm("Delete them?"):
            raise UserError(f"{name}: nothing was deleted")
        remove(spec, doomed)
    click.echo(f"{name}: deleted; versions of the model {spec.model} stay in MLflow")
