"""Commands of ``c2vl`` on experiments and encoders; heavy imports wait until one is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from c2vl.errors import UserError

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    epilog="""
\b
Examples:
  c2vl train experiment.yaml
  c2vl train experiment.yaml optim.lr=0.05 train.epochs=30 --out runs/train/short
  c2vl train experiment.yaml train.workers=4 train.batch_size=128
"""
)
@click.argument("config", type=FILE)
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--out", type=FOLDER, help="Run folder; default runs/train/NAME.")
@click.option("--max-failures", default=0, show_default=True, help="Lost workers to survive.")
def train(config: Path, overrides: tuple[str, ...], out: Path | None, max_failures: int) -> None:
    """Train the experiment in CONFIG, with any settings overridden.

    The same command on the same folder goes on after an interruption, with the same result.
    """
    from c2vl.config import load
    from c2vl.training.launch import fit
    from c2vl.training.progress import following

    experiment = load(config, overrides)
    folder = out or Path("runs/train") / experiment.name
    with following(folder, experiment.train.epochs):
        try:
            fit(experiment, folder, name=experiment.name, max_failures=max_failures)
        except KeyboardInterrupt:
            raise UserError(
                f"stopped; the same command goes on from the last checkpoint in {folder}"
            ) from None
    click.echo(f"encoder: {folder / 'encoder'}")


@click.command(
    epilog="""
\b
Examples:
  c2vl evaluate runs/train/first/encoder runs/stores/demo --split xsub
  c2vl evaluate runs/train/first/encoder runs/stores/utd_mhad --split utd_xsub --part test
"""
)
@click.argument("encoder", type=FOLDER)
@click.argument("store", type=FOLDER)
@click.option("--split", "split_name", required=True, help="A split of the store's dataset.")
@click.option(
    "--part",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Folds of training subjects, or the test part (for the chosen encoder, once).",
)
@click.option("--seed", default=0, show_default=True, help="Of the SGD probe.")
def evaluate(encoder: Path, store: Path, split_name: str, part: Any, seed: int) -> None:
    """Score the ENCODER on the STORE: linear and nearest-neighbour accuracy."""
    from rich.console import Console
    from rich.table import Table

    from c2vl.encoder import load_encoder
    from c2vl.protocols.report import score
    from c2vl.skeletons.store import Store

    opened = Store.open(store)
    figures = score(load_encoder(encoder), opened, split_name, part=part, seed=seed)
    table = Table(title=f"{opened.manifest['dataset']}, {split_name}, {part} part, top-1 accuracy")
    table.add_column("protocol")
    table.add_column("%", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{100 * value:.2f}")
    Console().print(table)


@click.command(epilog="\b\nExample:\n  c2vl export runs/train/first exported/first\n")
@click.argument("run_folder", metavar="RUN", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--overwrite", is_flag=True, help="Replace what is at OUT.")
def export(run_folder: Path, out: Path, overwrite: bool) -> None:
    """Copy the skeleton-only encoder of a finished RUN to the folder OUT, after checking it."""
    from c2vl.encoder import load_encoder, save_encoder

    if not (run_folder / "done.json").exists():
        raise UserError(f"{run_folder}: not a finished run (it has no done.json); train it first")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: is there already; add --overwrite to replace it")
    encoder = load_encoder(run_folder / "encoder")
    save_encoder(out, encoder.model, encoder.card)
    click.echo(f"{out}: {encoder.feature_size} features a sequence, {encoder.layout.name} layout")


@click.command(
    epilog="\b\nExample:\n  c2vl embed exported/first runs/stores/demo features.parquet\n"
)
@click.argument("encoder", type=FOLDER)
@click.argument("store", type=FOLDER)
@click.argument("out", type=FILE)
def embed(encoder: Path, store: Path, out: Path) -> None:
    """Write one row a sequence of STORE to the Parquet file OUT: id, label, subject, feature."""
    import os

    import numpy as np

    from c2vl.encoder import load_encoder
    from c2vl.protocols.report import part_features
    from c2vl.skeletons.store import Store

    opened = Store.open(store)
    features = part_features(load_encoder(encoder), opened, np.arange(len(opened)))
    table = opened.index[["id", "label", "subject"]].copy()
    table["feature"] = list(features.rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    table.to_parquet(partial)
    os.replace(partial, out)
    click.echo(f"{out}: {len(table)} sequences, {features.rows.shape[1]} features each")


@click.command(epilog="\b\nExample:\n  c2vl settings | grep temperature\n")
def settings() -> None:
    """List every setting of an experiment: name, default, meaning."""
    from c2vl.config import Experiment, described

    for name, default, meaning in described(Experiment):
        click.echo(f"{name}={default}" + (f"\n    {meaning}" if meaning else ""))
