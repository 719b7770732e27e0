"""The console command ``c2vl``: one experiment, from data to an encoder. Parses and calls."""

from __future__ import annotations

import click

from c2vl.support.command_line import LazyGroup, run

EXAMPLES = """
\b
Examples:
  c2vl data demo runs/stores/demo
  c2vl prompts kinematic runs/stores/demo runs/stores/demo/language
  c2vl train experiment.yaml objective.temperature=0.07 --out runs/train/first
  c2vl evaluate linear runs/train/first/encoder runs/stores/demo --split xsub
  c2vl embed runs/train/first/encoder runs/stores/demo features.parquet
"""

COMMANDS = {
    "data": ("c2vl.commands.data:data", "Prepare and look at skeleton stores."),
    "prompts": ("c2vl.commands.prompts:prompts", "Make and look at concept tables."),
    "train": ("c2vl.commands.train:train", "Train one encoder, or continue a run."),
    "evaluate": ("c2vl.commands.evaluate:evaluate", "Evaluate encoders by the papers' protocols."),
    "export": ("c2vl.commands.encoder:export", "Export the encoder of a run to a folder."),
    "embed": ("c2vl.commands.encoder:embed", "Embed a store's sequences into a Parquet file."),
    "classify-fit": ("c2vl.commands.serve:classify_fit", "Fit a classifier on features."),
    "classify": ("c2vl.commands.serve:classify", "Print the likeliest classes of files."),
    "index": ("c2vl.commands.serve:index", "Index a store's motions for search."),
    "search": ("c2vl.commands.serve:search", "Find motions like an example or a text."),
    "serve": ("c2vl.commands.serve:serve", "Serve an encoder over HTTP."),
    "settings": ("c2vl.commands.train:settings", "List every setting: default, meaning, range."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES)
@click.version_option(package_name="c2vl")
def c2vl() -> None:
    """Train a skeleton encoder without labels, guided by language (C²VL)."""


def main() -> None:
    """Entry point of the console command."""
    run(c2vl, "c2vl")
