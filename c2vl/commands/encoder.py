"""``c2vl export`` and ``c2vl embed``: an encoder in a folder, and its features of a store."""

from __future__ import annotations

from pathlib import Path

import click

from c2vl.commands.arguments import (
    FILE,
    FOLDER,
    encoder_argument,
    overwrite_option,
    store_argument,
)
from c2vl.support.errors import UserError
from c2vl.support.extras import require_extra
from c2vl.support.files import require_free

FORMATS = ("folder", "onnx", "torch-export", "aot-inductor", "hub")


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("out", type=FOLDER)
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
    run_folder: str, out: Path, kind: str, results: Path | None, push: str | None, overwrite: bool
) -> None:
    """Copy the skeleton-only encoder of a finished RUN to the folder OUT, after checking it.

    RUN is a run's folder, an encoder's own folder, an MLflow address or the id of an MLflow run.
    """
    if push is not None and kind != "hub":
        raise UserError("--push: is for --format hub")
    if kind == "onnx":
        require_extra("onnx", "--format onnx")
    from c2vl.encoder import load_encoder, save_encoder
    from c2vl.encoder.sources import is_address
    from c2vl.training.run_folder import RunFolder

    source: str | Path = run_folder
    if not is_address(run_folder):
        source = Path(run_folder)
        if not (source / "encoder.json").exists():
            run = RunFolder(source)
            if not run.done:
                raise UserError(
                    f"{source}: neither an encoder nor a finished run (it has no done.json); "
                    "train it first"
                )
            source = run.encoder
    require_free(out, overwrite=overwrite, known_by=("encoder.json", "config.json"))
    encoder = load_encoder(source)
    if results is not None:
        from c2vl.protocols.results import card_rows

        encoder.card["results"] = card_rows(results, encoder.digest)
    if kind == "folder":
        counted = [source] if isinstance(source, Path) else []
        save_encoder(out, encoder.model, encoder.card, encoder.concepts, counted=counted)
    elif kind == "hub":
        from c2vl.encoder.hub import push_folder, save_hub

        save_hub(encoder, out)
        if push is not None:
            click.echo(push_folder(out, push))
    else:
        from c2vl.encoder import export_formats

        export_formats.save(encoder, out, kind)
    click.echo(f"{out}: {encoder.feature_size} features a sequence, {encoder.layout.name} layout")


@click.command()
@encoder_argument
@store_argument
@click.argument("out", type=FILE)
@overwrite_option
def embed(encoder: str, store: Path, out: Path, overwrite: bool) -> None:
    """Write one row a sequence of STORE to the Parquet file OUT: id, label, subject, feature.

    \b
    Examples:
      c2vl export runs/train/first exported/first
      c2vl export runs/train/first exported/first_onnx --format onnx
      c2vl export runs/train/first exported/first_hub --format hub --push owner/name

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
