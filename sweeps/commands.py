"""Commands of ``c2vl-sweep``; heavy imports wait until one is called."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2vl.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from sweeps.spec import SweepSettings

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
STORAGE = click.option(
    "--storage", type=FOLDER, default="runs", show_default=True, help="Holds sweeps/NAME."
)
ADDRESS = click.option(
    "--address", help="Of a Ray cluster; default: RAY_ADDRESS, else one started on this machine."
)
RESUMABLE = (
    *("concurrency", "autoscaling", "max_hours", "max_failures", "max_failed_trials"),
    "tracking.patience",
)


@click.command(epilog="\b\nExample:\n  c2vl-sweep validate sweeps/presets/demo.yaml trials=40\n")
@click.argument("file", type=FILE)
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
def validate(file: Path, overrides: tuple[str, ...]) -> None:
    """Check the sweep FILE: names, ranges, and that drawn settings make experiments."""
    from sweeps.spec import load_sweep

    spec = load_sweep(file, overrides)
    click.echo(f"{file}: {spec.trials} trials over {', '.join(spec.space)}")


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep run sweeps/presets/demo.yaml
  c2vl-sweep run sweeps/presets/demo.yaml name=longer trials=40 train.epochs=80
  c2vl-sweep run sweeps/presets/utd_mhad.yaml sampler.name=random concurrency=1
"""
)
@click.argument("file", type=FILE)
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@ADDRESS
def run(file: Path, overrides: tuple[str, ...], address: str | None) -> None:
    """Run the sweep FILE: trials, choice on validation, test figures, report, registered encoder.

    An override names a key of the sweep file, or a setting of its base experiment.
    """
    from sweeps.spec import load_sweep

    _drive(load_sweep(file, overrides), address, resume=False)


@click.command(epilog="\b\nExample:\n  c2vl-sweep resume demo concurrency=1\n")
@click.argument("name")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@STORAGE
@ADDRESS
def resume(name: str, overrides: tuple[str, ...], storage: Path, address: str | None) -> None:
    """Go on with the sweep NAME after Ctrl-C or a kill, to exactly the asked number of trials."""
    from c2vl.config_files import override, parse_overrides
    from sweeps.spec import parse_sweep, read_sweep

    spec = read_sweep(storage, name)
    changes = parse_overrides(overrides)
    for key in changes:
        if key not in RESUMABLE:
            near = did_you_mean(key, RESUMABLE)
            raise UserError(f"{key}: a sweep that has begun keeps it{near}")
    if changes:
        spec = parse_sweep(override(spec.model_dump(mode="json"), changes), name)
    _drive(spec, address, resume=True)


def _drive(spec: SweepSettings, address: str | None, *, resume: bool) -> None:
    from sweeps import driver

    try:
        driver.run(spec, address=address, resume=resume)
    except driver.Interrupted as interrupted:
        click.echo(f"c2vl-sweep: {interrupted}", err=True)
        sys.exit(130)


@click.command(epilog="\b\nExample:\n  c2vl-sweep list\n")
@STORAGE
def list_(storage: Path) -> None:
    """List the sweeps in a storage folder, with their counts."""
    from sweeps.spec import read_sweep, sweep_names

    rows = []
    for name in sweep_names(storage):
        state = _state(read_sweep(storage, name))
        rows.append({"sweep": name, **{key: str(state[key]) for key in _COUNTS}})
    if not rows:
        raise UserError(f"{storage}: no sweep there yet; c2vl-sweep run sweeps/presets/demo.yaml")
    _print(rows, str(storage / "sweeps"))


@click.command(epilog="\b\nExamples:\n  c2vl-sweep status demo\n  c2vl-sweep status demo --json\n")
@click.argument("name")
@STORAGE
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(name: str, storage: Path, as_json: bool) -> None:
    """Show the sweep NAME: every trial, how it ended, and what was drawn."""
    from sweeps.spec import read_sweep

    state = _state(read_sweep(storage, name))
    if as_json:
        click.echo(json.dumps(state, indent=1))
        return
    rows = [{k.split(".")[-1]: _short(v) for k, v in row.items()} for row in state["trials"]]
    _print([{k: v for k, v in row.items() if k != "run"} for row in rows], name)
    click.echo("  ".join(f"{key} {state[key]}" for key in _COUNTS))


@click.command(epilog="\b\nExample:\n  c2vl-sweep best demo\n")
@click.argument("name")
@STORAGE
def best(name: str, storage: Path) -> None:
    """Show the best trial of the sweep NAME and the command that trains it again."""
    from sweeps.report import winning_overrides
    from sweeps.spec import read_sweep
    from sweeps.study import reader

    spec = read_sweep(storage, name)
    ranked = reader(spec).ranked()
    if not ranked:
        raise UserError(f"{name}: no trial has run to its end yet; c2vl-sweep status {name}")
    job, value = ranked[0]
    click.echo(f"{job.name}: {spec.objectives[0].metric} {value:.4f} (validation)")
    click.echo("differs from the base: " + " ".join(winning_overrides(spec.base, job)))
    click.echo(f"c2vl train {job.folder / 'experiment.yaml'} --out runs/train/{job.name}")


@click.command(epilog="\b\nExample:\n  c2vl-sweep report demo\n")
@click.argument("name")
@STORAGE
def report(name: str, storage: Path) -> None:
    """Write tables and pictures of the sweep NAME, finished or not, into its folder."""
    from sweeps.finals import read_final
    from sweeps.report import write_report
    from sweeps.spec import read_sweep
    from sweeps.study import reader

    spec = read_sweep(storage, name)
    click.echo(write_report(spec, reader(spec).study, read_final(spec.folder)))


@click.command(epilog="\b\nExample:\n  c2vl-sweep export demo exported/demo\n")
@click.argument("name")
@click.argument("out", type=FOLDER)
@STORAGE
@click.option("--overwrite", is_flag=True, help="Replace what is at OUT.")
def export(name: str, out: Path, storage: Path, overwrite: bool) -> None:
    """Copy the winner's encoder of the finished sweep NAME to the folder OUT."""
    from c2vl.encoder import load_encoder, save_encoder
    from sweeps.spec import read_sweep

    folder = read_sweep(storage, name).folder / "encoder"
    if not folder.exists():
        raise UserError(f"{name}: has not chosen an encoder yet; c2vl-sweep resume {name}")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: is there already; add --overwrite to replace it")
    encoder = load_encoder(folder)
    save_encoder(out, encoder.model, encoder.card, encoder.concepts, counted=[folder])
    click.echo(f"{out}: {encoder.feature_size} features a sequence, {encoder.layout.name} layout")


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep promote demo
  c2vl-sweep promote demo --version 3 --force --uri http://127.0.0.1:5000
"""
)
@click.argument("model")
@click.option("--version", type=int, help="Of the registered model; default: the candidate.")
@click.option("--force", is_flag=True, help="Whatever the rule says: you have decided.")
@click.option("--uri", help="Of MLflow; default: MLFLOW_TRACKING_URI, else runs/mlflow.db.")
def promote(model: str, version: int | None, force: bool, uri: str | None) -> None:
    """Make a version of the registered MODEL the best one, if it is not worse on validation.

    Sweeps do this themselves for their winners; versions chosen by another metric or on other data
    wait as the candidate for a decision.
    """
    from sweeps import registry
    from sweeps.tracking import open_client

    client = open_client(uri or registry.tracking_uri())
    chosen = str(version) if version is not None else None
    if chosen is None:
        candidate = registry.current(client, model, registry.CANDIDATE)
        if candidate is None:
            raise UserError(f"{model}: no such registered model here, or it has no candidate")
        chosen = str(candidate.version)
    elif registry.version_of(client, model, chosen) is None:
        raise UserError(f"{model}: has no version {chosen} here")
    click.echo(registry.promote(client, model, chosen, force=force))


_COUNTS = ("asked", "complete", "pruned", "failed", "running", "interrupted", "driven")


def _state(spec: SweepSettings) -> dict[str, Any]:
    """Counts and trials; a trial that nobody drives any more is "interrupted", not "running"."""
    from sweeps.driver import is_running
    from sweeps.report import table
    from sweeps.study import reader

    driven = is_running(spec.folder)
    source = reader(spec)
    counts = source.counts()
    going = counts.pop("running", 0)
    return {
        "sweep": spec.name,
        "asked": spec.trials,
        **{key: counts[key] for key in ("complete", "pruned", "failed")},
        "running": going if driven else 0,
        "interrupted": 0 if driven else going,
        "driven": driven,
        "trials": table(spec, source.ended()),
    }


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print(rows: Iterable[dict[str, str]], title: str) -> None:
    from sweeps.progress import show_table

    show_table(list(rows), title)
