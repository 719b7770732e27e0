"""The outputs of a sweep: its report, its encoder, and the registered model."""

from __future__ import annotations

from pathlib import Path

import click

from c2vl.support.errors import UserError
from c2vl.support.remote import Location
from sweeps.commands.options import FOLDER, NAME, STORAGE


@click.command(epilog="\b\nExample:\n  c2vl-sweep report demo\n")
@NAME
@STORAGE
def report(name: str, storage: Location) -> None:
    """Write tables and pictures of the sweep NAME, finished or not, into its folder."""
    from sweeps.choosing.final_choice import read_choice
    from sweeps.report.write import write_report
    from sweeps.search.study import reader
    from sweeps.spec.lock import refresh
    from sweeps.spec.reading import read_sweep

    spec = read_sweep(storage, name)
    refresh(spec.folder, runs=True)
    written = write_report(reader(spec), read_choice(spec.folder))
    click.echo(spec.folder.place(written))


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep export demo exported/demo
  c2vl-sweep export demo --register
"""
)
@NAME
@click.argument("out", type=FOLDER, required=False)
@STORAGE
@click.option("--overwrite", is_flag=True, help="Replace what is at OUT.")
@click.option(
    "--register",
    is_flag=True,
    help="Register it in MLflow, where a sweep could not when it ended.",
)
@click.option("--model", help="Registered model for --register; default: the sweep's.")
def export(
    name: str,
    out: Path | None,
    storage: Location,
    overwrite: bool,
    register: bool,
    model: str | None,
) -> None:
    """Copy the winner's encoder of the finished sweep NAME to the folder OUT, or register it."""
    from c2vl.encoder import load_encoder, save_encoder
    from c2vl.support.files import require_free
    from sweeps.spec.reading import read_sweep

    if out is None and not register:
        raise UserError("OUT: name a folder for the encoder, or add --register")
    spec = read_sweep(storage, name)
    folder = spec.folder.encoder
    if not folder.exists():
        raise UserError(f"{name}: has not chosen an encoder yet; c2vl-sweep resume {name}")
    if out is not None:
        require_free(out, overwrite=overwrite, known_by=["encoder.json"])
        with spec.folder.having(folder):
            encoder = load_encoder(folder)
        save_encoder(out, encoder.model, encoder.card, encoder.concepts, counted=[folder])
        click.echo(
            f"{out}: {encoder.feature_size} features a sequence, {encoder.layout.name} layout"
        )
    if register:
        from sweeps.choosing.export import publish
        from sweeps.choosing.final_choice import read_choice
        from sweeps.tracking.run_sync import SweepRuns

        final = read_choice(spec.folder)
        if final is None:  # its maker removed a damaged one, say
            raise UserError(
                f"{name}: its final.json is gone, and nothing says which trial the encoder is; "
                f"c2vl-sweep resume {spec.words} chooses anew, and registers it"
            )
        tracking = spec.tracking.model_copy(update={"model": model or spec.tracking.model})
        spec = spec.model_copy(update={"tracking": tracking})
        with spec.folder.having(folder):
            click.echo(publish(spec, final, folder, SweepRuns(spec, spec.folder.identity())))


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
    from sweeps.tracking import registry
    from sweeps.tracking.mlflow_store import answering, open_client

    uri = uri or registry.tracking_uri()
    with answering(uri, "--uri"):
        client = open_client(uri)
        chosen = str(version) if version is not None else None
        if chosen is None:
            candidate = registry.current(client, model, registry.CANDIDATE)
            if candidate is None:
                raise UserError(f"{model}: no such registered model here, or it has no candidate")
            chosen = str(candidate.version)
        elif registry.version_of(client, model, chosen) is None:
            raise UserError(f"{model}: has no version {chosen} here")
        click.echo(registry.promote(client, model, chosen, force=force))
