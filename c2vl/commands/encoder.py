"""``c2vl export`` and ``c2vl embed``: an encoder in a folder, and its features of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from c2vl.commands.arguments import (
    FILE,
    FOLDER,
    LOCATION,
    encoder_argument,
    overwrite_option,
    store_argument,
)
from c2vl.support.errors import UserError
from c2vl.support.extras import require_extra
from c2vl.support.files import require_free

if TYPE_CHECKING:
    from c2vl.encoder import Encoder
    from c2vl.support.remote import Location

FORMATS = ("folder", "onnx", "torch-export", "aot-inductor", "hub")


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("out", type=LOCATION)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="folder",
    help="What to write: the artefact, or the network for another runtime beside the card.",
)
@click.option(
    "--results", type=FOLDER, help="Put the figures that `c2vl evaluate` wrote there into the card."
)
@click.option("--push", help="Upload to this repository of the Hugging Face Hub (hub format).")
@overwrite_option
def export(
    run_folder: str,
    out: Location,
    kind: str,
    results: Path | None,
    push: str | None,
    overwrite: bool,
) -> None:
    """Copy the skeleton-only encoder of a finished RUN to OUT (a folder, a URL), after checking it.

    RUN is a run's folder, an encoder's own folder or URL, an MLflow address or the id of an MLflow
    run.

    \b
    Examples:
      c2vl export runs/train/first exported/first
      c2vl export runs/train/first s3://bucket/encoders/first
      c2vl export runs/train/first exported/first_onnx --format onnx
      c2vl export runs/train/first exported/first_hub --format hub --push owner/name
    """
    if push is not None and kind != "hub":
        raise UserError("--push: is for --format hub")
    if kind == "onnx":
        require_extra("onnx", "--format onnx")
    from c2vl.encoder.sources import find, is_address, made_at
    from c2vl.training.run_folder import RunFolder

    if not is_address(run_folder):
        source = Path(run_folder)
        if not (source / "encoder.json").exists():
            run = RunFolder(source)
            if not run.done:
                raise UserError(
                    f"{source}: neither an encoder nor a finished run (it has no done.json); "
                    "train it first"
                )
            run_folder = str(run.encoder)
    with made_at(out, overwrite=overwrite) as folder, find(run_folder) as source:
        encoder = _export(source, folder, kind, results)
        if push is not None:
            from c2vl.encoder.hub import push_folder

            click.echo(push_folder(folder, push))
    click.echo(f"{out}: {encoder.feature_size} features a sequence, {encoder.layout.name} layout")


def _export(source: Path, out: Path, kind: str, results: Path | None) -> Encoder:
    from c2vl.encoder import load_encoder, save_encoder

    encoder = load_encoder(source)
    if results is not None:
        from c2vl.protocols.results import card_rows

        encoder.card["results"] = card_rows(results, encoder.digest)
    if kind == "folder":
        save_encoder(out, encoder.model, encoder.card, encoder.concepts, counted=[source])
    elif kind == "hub":
        from c2vl.encoder.hub import save_hub

        save_hub(encoder, out)
    else:
        from c2vl.encoder import export_formats

        export_formats.save(encoder, out, kind)
    return encoder


@click.command()
@encoder_argument
@store_argument
@click.argument("out", type=FILE)
@overwrite_option
def embed(encoder: str, store: Location, out: Path, overwrite: bool) -> None:
    """Write one row a sequence of STORE to the Parquet file OUT: id, label, subject, feature.

    \b
    Examples:
      c2vl embed exported/first runs/stores/demo features.parquet
      c2vl embed models:/demo@best runs/stores/demo features.parquet
    """
    from c2vl.encoder import load_encoder
    from c2vl.encoder.store_features import store_features
    from c2vl.skeletons.store import Store
    from c2vl.support.files import replacing

    if out.suffix != ".parquet":
        raise UserError(f"{out}: a Parquet file is written; give OUT.parquet")
    require_free(out, overwrite=overwrite)
    opened = Store.open(store)
    features = store_features(load_encoder(encoder), opened)
    table = opened.index[["id", "label", "subject"]].copy()
    table["feature"] = list(features)
    with replacing(out) as file:
        table.to_parquet(file)
    click.echo(f"{out}: {len(table)} sequences, {features.shape[1]} features each")
