"""``c2vl data``: prepare a dataset, generate the demo set, look at a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2vl.commands.arguments import LOCATION, PATH, axes_options, imports_option
from c2vl.support.errors import Interrupted
from c2vl.support.progress import progress

if TYPE_CHECKING:
    from c2vl.skeletons.preparing.existing import Prepared
    from c2vl.support.remote import Location

_NUMBER = click.IntRange(1, 999)  # what three digits of an NTU file's name can say
store_argument = click.argument("store", type=LOCATION)


@click.group(
    epilog="""
\b
Examples:
  c2vl data demo runs/stores/demo
  c2vl data init mine
  c2vl data prepare utd-mhad path/to/UTD-MHAD runs/stores/utd_mhad
  c2vl data prepare ntu60 path/to/zips runs/stores/ntu60 --missing ntu60_missing.txt
  c2vl data describe runs/stores/demo
  c2vl data splits runs/stores/demo
  c2vl data view runs/stores/demo 0 sequence.gif
"""
)
def data() -> None:
    """Prepare, inspect, check and export datasets."""


class _Prepare(click.Command):
    """The help of ``prepare`` lists the registered datasets."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from c2vl.registry import parts

        with formatter.section("NAME, and what SOURCE is"):
            formatter.write_dl([(part.name, part.help) for part in parts("dataset")])


@data.command(cls=_Prepare)
@click.argument("name")
@click.argument("source", type=PATH)
@click.argument("out", type=LOCATION)
@click.option("--missing", type=PATH, help="NTU's list of samples without a usable skeleton.")
@click.option("--layout", help="Joint layout of arrays: a name (c2vl data layouts) or a YAML file.")
@click.option("--window", type=click.IntRange(1), help="PKU-MMD: cut windows of this many frames.")
@click.option(
    "--stride", type=click.IntRange(1), show_default="half a window", help="Frames between starts."
)
@click.option(
    "--fps",
    type=click.FloatRange(1, 1000),
    show_default="the first file's",
    help="BVH: frames a second to resample to.",
)
@axes_options("SOURCE", "m; bvh: cm, kit-ml: mm")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    show_default="one a core if it pays",
    help="Reading processes.",
)
@click.option("--float16", is_flag=True, help="Store half the bytes; rounds to 1 mm at 2 m.")
@click.option(
    "--max-rejected", default=0, type=click.IntRange(0), help="Unusable files to tolerate."
)
@click.option("--licence", help="Terms of use of the data; every encoder's card names them.")
@click.option("--overwrite", is_flag=True, help="Read every file again and replace OUT's store.")
@imports_option("a dataset")
def prepare(
    name: str, source: Path, out: Location, float16: bool, licence: str | None, **others: Any
) -> None:
    """Read dataset NAME from SOURCE into a store at OUT, a folder or a URL (s3://bucket/ntu60).

    After an interruption, even by SIGKILL, the same command continues. With new files in SOURCE it
    reads only those; with nothing new it does nothing.
    """
    from dataclasses import fields

    from c2vl.skeletons.datasets import Options
    from c2vl.skeletons.preparing import prepare as preparing
    from c2vl.skeletons.staging import made_at
    from c2vl.skeletons.store import KIND

    options = Options(*(others.pop(field.name) for field in fields(Options)))
    others |= {"dtype": "float16" if float16 else "float32", "licence": licence or ""}
    try:
        with made_at(out, KIND, fresh=others["overwrite"]) as folder, progress("files") as shown:
            prepared = preparing.prepare(
                name, source, folder, options=options, progress=shown, **others
            )
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command continues from here") from None
    _report(prepared, out)


@data.command()
@click.argument("folder", type=PATH)
def init(folder: Path) -> None:
    """Look at the recordings in FOLDER and write the files to start from beside them.

    layout.yaml (joints), sequences.csv (a row a recording), experiment.yaml and sweep.yaml, with
    comments. It says what it guessed from the numbers and the names, and what to check; it
    overwrites nothing. Recordings are .npy, .npz or .mat arrays, texts of numbers, or BVH.
    """
    from c2vl.commands.data_init import init as start

    start(folder)


@data.command()
@click.argument("out", type=LOCATION)
@click.option("--seed", type=click.IntRange(0), default=0, help="Decides every file.")
@click.option("--subjects", type=_NUMBER, default=8, help="Performers.")
@click.option("--cameras", type=_NUMBER, default=2, help="Directions of view.")
@click.option(
    "--replications", type=_NUMBER, default=2, help="Performances of each class before each camera."
)
@click.option("--keep-raw", type=PATH, help="Keep the .skeleton files in this folder.")
@click.option("--overwrite", is_flag=True, help="Replace a different store at OUT.")
def demo(out: Location, keep_raw: Path | None, overwrite: bool, **settings: Any) -> None:
    """Generate the demo set (NTU layout, known classes) and prepare it at OUT."""
    from c2vl.skeletons.demo.generate import DemoSettings
    from c2vl.skeletons.demo.store import prepare_demo
    from c2vl.skeletons.staging import made_at
    from c2vl.skeletons.store import KIND

    wanted = DemoSettings(**settings)
    with made_at(out, KIND, fresh=overwrite) as folder, progress("files") as shown:
        prepared = prepare_demo(
            folder, wanted, keep_raw=keep_raw, overwrite=overwrite, progress=shown
        )
    _report(prepared, out)


def _report(prepared: Prepared, out: Location) -> None:
    from c2vl.skeletons.describe import missing_later

    manifest = prepared.store.manifest
    what = f"{manifest['counts']['sequences']} sequences of {manifest['dataset']}"
    if prepared.already:
        click.echo(f"{out}: already prepared from the same source ({what}); nothing to do")
    else:
        frames, digest = manifest["counts"]["frames"], prepared.store.digest[:12]
        taken = f" ({prepared.taken} files taken over)" if prepared.taken else ""
        click.echo(f"{out}: {what}, {frames} frames, checksum {digest}{taken}")
    if prepared.rejected:
        unusable = len(prepared.unusable)
        click.echo(
            f"{unusable} rejected, {len(prepared.rejected) - unusable} left out by rule: "
            f"{out}/{prepared.store.data.name}/rejected.csv"
        )
    for line in missing_later(prepared.store):
        click.echo(f"later: {line}", err=True)


@data.command()
@store_argument
def describe(store: Location) -> None:
    """Show what a prepared STORE holds: counts, lengths, classes, subjects, what is missing."""
    from c2vl.skeletons.describe import show
    from c2vl.skeletons.store import Store

    show(Store.open(store))


@data.command()
@store_argument
@click.argument("split", required=False)
def splits(store: Location, split: str | None) -> None:
    """Show the splits of a STORE beside official counts, and SPLIT: a CSV file, or loso:3."""
    from c2vl.skeletons.describe import show_splits
    from c2vl.skeletons.store import Store

    show_splits(Store.open(store), split)


@data.command()
@click.argument("store", type=LOCATION, required=False)
@click.option(
    "--keep",
    type=click.FloatRange(0),
    metavar="GB",
    help="Delete what was used longest ago until the rest takes no more than this.",
)
def cache(store: Location | None, keep: float | None) -> None:
    """List what is cached for a STORE (clips, features, statistics), last used last; or prune it.

    The cache lies in STORE/cache, or where C2VL_CACHE points; past C2VL_CACHE_GB (50) it prunes
    itself. Whatever is deleted is computed again when it is needed. Without a STORE, or for one at
    a URL: this machine's cache, C2VL_CACHE or ~/.cache/c2vl, with the copies of what lies at URLs.

    \b
    Examples:
      c2vl data cache runs/stores/demo
      c2vl data cache runs/stores/demo --keep 10
      c2vl data cache
    """
    from datetime import datetime

    from c2vl.skeletons.cache import Cache
    from c2vl.skeletons.store import Store

    found = Cache.of(Store.open(store)) if isinstance(store, Path) else Cache.of_node()
    if keep is not None:
        click.echo(f"{len(found.prune(keep * 1e9))} deleted")
    entries = found.entries()
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        about = " ".join(f"{key}={str(value)[:60]}" for key, value in entry.about.items())
        click.echo(f"{entry.kind:10} {entry.size / 1e9:8.3f} GB  {used}  {about}")
    click.echo(f"{found.folder}: {sum(entry.size for entry in entries) / 1e9:.3f} GB")


@data.command()
@store_argument
def verify(store: Location) -> None:
    """Read all of a STORE and compare it with its checksums."""
    from c2vl.skeletons.store import Store

    opened = Store.open(store)
    opened.verify()
    click.echo(f"{store}: {len(opened)} sequences, all as they were prepared")


@data.command()
@store_argument
@click.argument("out", type=PATH)
@click.option(
    "--split", show_default="the dataset's usual", help="Of the npz, or a CSV file to add."
)
@click.option("--frames", type=click.IntRange(1), show_default="the longest", help="T of the npz.")
def export(store: Location, out: Path, split: str | None, frames: int | None) -> None:
    """Write a STORE to OUT.pkl (PYSKL) or OUT.npz (CTR-GCN), for other code.

    \b
    Examples:
      c2vl data export runs/stores/utd_mhad utd.pkl
      c2vl data export runs/stores/utd_mhad utd.npz --split utd_xsub --frames 300
    """
    from c2vl.skeletons.export import export as write
    from c2vl.skeletons.store import Store

    click.echo(f"{out}: {write(Store.open(store), out, split, frames)}")


@data.command()
@click.argument("name", required=False)
@click.option("--out", type=PATH, help="Draw it to FILE.png, or write it to FILE.yaml.")
def layouts(name: str | None, out: Path | None) -> None:
    """List the joint layouts, or the joints of NAME: a layout, a YAML file or a store."""
    from c2vl.commands.data_pictures import show_layouts

    show_layouts(name, out)


@data.command()
@store_argument
@click.argument("sequence", metavar="ID")
@click.argument("out", type=PATH)
@click.option("--captions", type=LOCATION, help="Concept table; its texts are shown in time.")
def view(store: Location, sequence: str, out: Path, captions: Location | None) -> None:
    """Draw sequence ID (or row number) of STORE to OUT, a .gif or an .html that plays it."""
    from c2vl.commands.data_pictures import view as draw

    click.echo(draw(store, sequence, out, captions))
