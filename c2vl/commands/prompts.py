"""``c2vl prompts``: make, check and show concept tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2vl.commands.arguments import FILE, LOCATION, PATH
from c2vl.commands.prompts_noise import check, corrupt, filter_
from c2vl.commands.prompts_video import encode, encoding, estimate, opens_encoder, video
from c2vl.support.command_line import LocalPath

if TYPE_CHECKING:
    from c2vl.prompts.language_table import BuiltTable
    from c2vl.prompts.probe import ProbeResult, RuleWorth
    from c2vl.support.remote import Location

GIVEN_FILE = LocalPath(exists=True, dir_okay=False)


@click.group(
    epilog="""
\b
Examples:
  c2vl prompts kinematic runs/stores/demo runs/stores/demo/language
  c2vl prompts import pkuv2_language.zip runs/pku/language
  c2vl prompts video nturgb+d_rgb runs/ntu60/prompts --dataset ntu --model llava-hf/llava-1.5-7b-hf
  c2vl prompts probe runs/stores/demo/language runs/stores/demo --split xsub
"""
)
def prompts() -> None:
    """Language and vision prompts, and their frozen features."""


for command in (video, encode, estimate, check, corrupt, filter_):
    prompts.add_command(command)


@prompts.command()
@click.argument("store", type=LOCATION)
@click.argument("out", type=LOCATION)
@click.option(
    "--windows",
    type=click.IntRange(1, 256),
    show_default="16",
    help="Captions a sequence, of windows of time; rules 6 have their own number.",
)
@click.option(
    "--rules",
    type=click.IntRange(5, 6),
    default=5,
    show_default=True,
    help="Version: 6 writes short sentences on the whole motion, each about one matter.",
)
@encoding
def kinematic(store: Location, out: Location, **options: Any) -> None:
    """Write captions from the motion in STORE and encode them into the table OUT.

    \b
    Examples:
      c2vl prompts kinematic runs/stores/utd runs/stores/utd/language
      c2vl prompts kinematic runs/stores/utd runs/stores/utd/richer --rules 6
      c2vl prompts kinematic runs/stores/utd runs/clip --encoder openai/clip-vit-base-patch32
      c2vl prompts kinematic runs/stores/utd runs/mine --encoder mine --imports my_encoder.py
    """
    from c2vl.prompts.rules.captions import WINDOWS
    from c2vl.prompts.rules.kinematic_table import build
    from c2vl.prompts.table import KIND, RICHER
    from c2vl.skeletons.staging import made_at
    from c2vl.skeletons.store import Store
    from c2vl.support.errors import UserError

    if options["windows"] is None:
        options["windows"] = WINDOWS
    elif options["rules"] == RICHER:
        raise UserError("--windows: captions of rules 6 are on the whole motion; leave it out")
    opened = Store.open(store)
    text = opens_encoder(options)()
    with made_at(out, KIND, fresh=options["overwrite"]) as folder:
        made = build(opened, folder, text, **options)
    _report(made, out)


@prompts.command("import")
@click.argument("captions", type=PATH)
@click.argument("out", type=LOCATION)
@click.option("--store", type=LOCATION, help="Leave out sequences that this store does not have.")
@click.option(
    "--prompts",
    type=click.IntRange(1, 256),
    show_default="the most frequent number; of texts/ the largest",
    help="Captions a sequence.",
)
@click.option(
    "--short",
    type=click.Choice(["reject", "repeat"]),
    show_default="reject; of texts/ repeat",
    help="A sequence with fewer captions: left out, or those it has are repeated.",
)
@encoding
def import_(captions: Path, out: Location, store: Location | None, **options: Any) -> None:
    """Encode the captions of a file into the table OUT.

    CAPTIONS is the archive that C²VL's authors published for PKU-MMD II, or a JSON file
    {"sequence": ["caption", ...]}, or a CSV or Parquet file with columns id, text and, where order
    matters, prompt, or the folder of HumanML3D or KIT-ML that holds texts/. What cannot be used is
    listed in OUT/rejected.csv.

    \b
    Examples:
      c2vl prompts import pkuv2_language.zip runs/pku/language
      c2vl prompts import mine.csv runs/stores/mine/language --store runs/stores/mine
      c2vl prompts import HumanML3D runs/hml/language --store runs/stores/hml
      c2vl prompts import mine.parquet runs/mine --prompts 4 --short repeat
    """
    from c2vl.prompts.imported_captions import import_captions
    from c2vl.prompts.table import KIND
    from c2vl.skeletons.staging import made_at
    from c2vl.skeletons.store import Store

    text = opens_encoder(options)()
    opened = Store.open(store) if store is not None else None
    with made_at(out, KIND, fresh=options["overwrite"]) as folder:
        made = import_captions(captions, folder, text, store=opened, **options)
    _report(made, out)


def _report(made: BuiltTable, out: Location) -> None:
    counts = made.table.manifest["counts"]
    click.echo(
        f"{out}: {counts['sequences']} sequences × {counts['prompts_per_sequence']} captions, "
        f"{counts['distinct_captions']} distinct "
        f"({counts['distinct_captions'] / counts['captions']:.0%}), {counts['mean_words']} words "
        f"each; the most shared is in {counts['most_shared_caption']:.1%} of sequences"
    )
    model = made.table.manifest["model"]
    click.echo(f"encoder {model}: {made.read} captions read, the rest known before")
    for count, said in (
        ("long_captions", "captions are longer than the encoder reads at once"),
        ("missing", "sequences of the store have no captions here"),
        (
            "no_captions",
            "distinct captions are empty or read like a model's refusal or thoughts (`c2vl prompts "
            "show`); they are kept: take them out of the file unless they are meant",
        ),
        ("filled", "sequences have some captions repeated"),
        ("rejected", f"sequences were left out: see {out}/rejected.csv"),
    ):
        if number := counts.get(count):
            click.echo(f"{number} {said}", err=True)


@prompts.command()
@click.argument("table", type=LOCATION)
@click.argument("sequence", required=False, metavar="[ID]")
def show(table: Location, sequence: str | None) -> None:
    """Print the captions of one sequence, or what TABLE holds and a few examples.

    \b
    Examples:
      c2vl prompts show runs/stores/utd/language
      c2vl prompts show runs/stores/utd/language a9_s1_t1
    """
    from c2vl.prompts.table import ConceptTable

    opened = ConceptTable.open(table)
    if sequence is not None:
        for number, text in enumerate(opened.texts(sequence)["text"], start=1):
            click.echo(f"{number:3d}  {text}")
        return
    manifest = opened.manifest
    facts = {key: manifest[key] for key in ("modality", "model", "source", "store", "digest")}
    for key, value in (facts | manifest["settings"] | manifest["counts"]).items():
        click.echo(f"{key:9} {value}")
    texts = opened.texts()
    for name in opened.ids[:: max(1, len(opened.ids) // 5)][:5]:
        rows = texts.loc[texts["id"] == name, "text"]
        click.echo(f"{name}: {rows.iloc[len(rows) // 2]}")


@prompts.command()
@click.argument("table", type=LOCATION)
@click.argument("store", type=LOCATION, required=False)
@click.option("--split", show_default="xsub", help="Named split of the dataset of STORE.")
@click.option("--test", is_flag=True, help="Also score the test subjects, for a final report.")
@click.option(
    "--parts",
    default=1,
    type=click.IntRange(1, 16),
    help="Average the prompts over this many parts of time, side by side.",
)
@click.option("--rules", is_flag=True, help="Also without the captions of each rule in turn.")
def probe(
    table: Location,
    store: Location | None,
    split: str | None,
    test: bool,
    parts: int,
    rules: bool,
) -> None:
    """Predict the action from the mean prompt of unseen subjects: linear probe, nearest neighbour.

    One training subject is left out at a time; labels measure the prompts and never make them.
    Without a STORE, action and subject are taken from the names of NTU RGB+D, PKU-MMD II or
    UTD-MHAD, and every subject is left out in turn.

    \b
    Examples:
      c2vl prompts probe runs/stores/utd/language runs/stores/utd --split utd_xsub
      c2vl prompts probe runs/stores/utd/language runs/stores/utd --split utd_xsub --test
      c2vl prompts probe runs/stores/utd/richer runs/stores/utd --split utd_xsub --rules
      c2vl prompts probe runs/pku/language
    """
    from c2vl.prompts.probe import probe_names, probe_rules, probe_table
    from c2vl.prompts.table import ConceptTable
    from c2vl.skeletons.store import Store
    from c2vl.support.errors import UserError

    opened = ConceptTable.open(table)
    if parts > opened.prompts_per_sample:
        raise UserError(f"--parts: {table} has {opened.prompts_per_sample} prompts a sequence")
    if rules and (store is None or parts > 1):
        raise UserError("--rules: needs a STORE, and takes no --parts")
    if store is None and (test or split is not None):
        raise UserError("--test, --split: need a STORE; names of sequences tell no split")
    split = split or "xsub"
    if store is None:
        result = probe_names(opened, parts=parts, nearest=True)
    else:
        there = Store.open(store)
        result = probe_table(opened, there, split, parts=parts, test=test, nearest=True)
    counts = opened.manifest["counts"]
    if "distinct_captions" in counts:
        click.echo(
            f"distinct captions      {counts['distinct_captions']} of {counts['captions']}; the "
            f"most shared is in {counts['most_shared_caption']:.1%} of sequences"
        )
    if result.left_out:
        click.echo(f"without prompts        {result.left_out} sequences, left out")
    if result.unlabelled:
        click.echo(f"without a class        {result.unlabelled} sequences, left out")
    subjects = ", ".join(f"{name}: {value:.1%}" for name, value in result.by_subject.items())
    click.echo(f"left-out {'train ' if store else ''}subject {result.validation:.1%} ({subjects})")
    click.echo(f"  nearest neighbour    {result.nearest_validation:.1%}")
    if result.test is not None:
        click.echo(f"test subjects          {result.test:.1%}")
        click.echo(f"  nearest neighbour    {result.nearest_test:.1%}")
    click.echo(f"chance {1 / result.classes:.1%}; ridge penalty {result.strength:g}")
    if rules:
        _tell_rules(result, probe_rules(opened, there, split))


def _tell_rules(every: ProbeResult, found: list[RuleWorth]) -> None:
    """Print what each rule adds (linear / 1-NN, %), with 95 % intervals over subjects."""
    from statistics import mean

    from c2vl.support.intervals import interval
    from c2vl.support.tables import markdown

    lines = []
    for one in found:
        line = {"rule": one.rule, "captions": str(one.sentences)}
        for name, probed in (("alone", one.alone), ("with those above", one.so_far)):
            line[name] = f"{100 * probed.validation:.1f} / {100 * probed.nearest_validation:.1f}"
        for name, whole, rest in (
            ("linear", every.by_subject, one.without.by_subject),
            ("1-NN", every.nearest, one.without.nearest),
        ):
            gains = [100 * (whole[subject] - rest[subject]) for subject in whole]
            line[f"adds to the others, {name}"] = f"{mean(gains):+.1f} ({interval(gains, '+.1f')})"
        lines.append(line)
    click.echo(f"\n{markdown(lines)}")


@prompts.command()
@click.argument("features", type=GIVEN_FILE)
@click.argument("ids", type=GIVEN_FILE)
@click.argument("out", type=LOCATION)
@click.option("--modality", type=click.Choice(["language", "vision"]), required=True)
@click.option("--model", required=True, help="What made the features, for the record.")
@click.option("--overwrite", is_flag=True, help="Replace a table at OUT.")
def features(features: Path, ids: Path, out: Location, **options: Any) -> None:
    """Make a table of features computed elsewhere.

    FEATURES is a .npy of floats (sequences, prompts, D) or (sequences, D); IDS is a text file with
    one sequence name a line, in the same order.

    \b
    Example:
      c2vl prompts features crops.npy ids.txt runs/stores/ntu60/vision --modality vision \\
          --model openai/clip-vit-large-patch14-336
    """
    from c2vl.prompts.table import KIND
    from c2vl.prompts.table_writing import import_features
    from c2vl.skeletons.staging import made_at

    with made_at(out, KIND, fresh=options["overwrite"]) as folder:
        table = import_features(features, ids, folder, **options)
    click.echo(
        f"{out}: {len(table.ids)} sequences × {table.prompts_per_sample} {table.modality} prompts, "
        f"{table.dim} numbers each"
    )


@prompts.command()
@click.argument("out", type=FILE)
@click.option("--language", type=LOCATION, help="Language table.")
@click.option("--vision", type=LOCATION, help="Vision table.")
@click.option("--store", type=LOCATION, help="Skeletons, classes and subjects.")
@click.option("--run", type=PATH, help="Folder of `c2vl prompts video`: shows its crops.")
@click.option("--split", show_default="xsub", help="Named split of STORE, for the probe.")
@click.option("--samples", default=24, type=click.IntRange(1, 1000), help="Sequences to show.")
def inspect(
    out: Path,
    language: Location | None,
    vision: Location | None,
    store: Location | None,
    **options: Any,
) -> None:
    """Write a page on prompts to the HTML file OUT: a look at them before a day of training.

    Skeletons in motion, crops, captions, nearest neighbours in each space, the most repeated
    captions, their lengths, and the probe for the class, which does not use the test part.

    \b
    Examples:
      c2vl prompts inspect prompts.html --language runs/stores/demo/language \\
          --store runs/stores/demo
      c2vl prompts inspect pku.html --language runs/pku/language
    """
    from c2vl.prompts.inspect_page import write
    from c2vl.prompts.table import ConceptTable
    from c2vl.skeletons.store import Store
    from c2vl.support.errors import UserError

    if store is None and options["split"] is not None:
        raise UserError("--split: needs a --store")
    options["split"] = options["split"] or "xsub"
    shown = write(
        out,
        language=ConceptTable.open(language, modality="language") if language else None,
        vision=ConceptTable.open(vision, modality="vision") if vision else None,
        store=Store.open(store) if store else None,
        **options,
    )
    click.echo(f"{out}: {shown} sequences; open it in a browser")
