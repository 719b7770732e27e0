"""``c2vl classify``, ``classify-fit``, ``index``, ``search``, ``serve``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2vl.commands.arguments import (
    FOLDER,
    PATH,
    axes_options,
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


class _Finite(click.FloatRange):
    """A range without NaN and infinity, which Click lets through."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


@click.command()
@encoder_argument
@store_argument
@click.argument("out", type=FOLDER)
@click.option(
    "--split",
    "split_name",
    required=True,
    help="Split whose training part the classifier is fitted on.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    default=4,
    help="Folds that choose the penalty.",
)
@overwrite_option
def classify_fit(
    encoder: str, store: Location, out: Path, split_name: str, folds: int, overwrite: bool
) -> None:
    """Fit a linear classifier on the ENCODER's features of a STORE's training part.

    \b
    Example:
      c2vl classify-fit exported/demo runs/stores/demo exported/demo_head --split xsub
    """
    from c2vl.encoder import load_encoder
    from c2vl.protocols.task import Task
    from c2vl.serving.classifier import CARD, fit_head, save_head
    from c2vl.skeletons.store import Store

    require_free(out, overwrite=overwrite, known_by=[CARD])
    task = Task(load_encoder(encoder), Store.open(store), split_name, k=folds)
    head = fit_head(task)
    save_head(out, head)
    figure = f"{100 * head.card['validation']:.1f} % on folds of the training part"
    click.echo(f"{out}: {len(head.classes)} classes, {figure}")


@click.command()
@encoder_argument
@click.argument("head", type=FOLDER)
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--reader", show_default=".npy", help="Dataset whose format FILES are in.")
@axes_options("FILES", "m, or the reader's")
@click.option("--top", type=click.IntRange(1), default=5, help="Classes to print.")
def classify(
    encoder: str,
    head: Path,
    files: tuple[Path, ...],
    reader: str | None,
    top: int,
    **axes: str | None,
) -> None:
    """Print the likeliest classes of the sequences in FILES, by a fitted HEAD.

    \b
    Examples:
      c2vl classify exported/demo exported/demo_head joints.npy
      c2vl classify exported/utd exported/utd_head a1_s1_t1_skeleton.mat --reader utd-mhad --top 3
      c2vl classify exported/demo exported/demo_head mocap.npy --up z --unit cm
    """
    from c2vl.encoder import load_encoder
    from c2vl.serving.classifier import load_head
    from c2vl.serving.sequence_files import read_sequences

    loaded, fitted = load_encoder(encoder), load_head(head)
    fitted.fits(loaded)
    for path in files:
        for name, joints in read_sequences(path, reader, loaded.layout, **axes):
            (best,) = fitted.top(_features(loaded, path, joints), top)
            likely = ", ".join(f"{label} {100 * share:.1f} %" for label, share in best)
            click.echo(f"{name}: {likely}")


@click.command()
@encoder_argument
@store_argument
@click.argument("out", type=FOLDER)
@overwrite_option
def index(encoder: str, store: Location, out: Path, overwrite: bool) -> None:
    """Build a nearest-neighbour index of a STORE's motions at OUT.

    \b
    Examples:
      c2vl index exported/demo runs/stores/demo exported/demo_index
      c2vl search exported/demo exported/demo_index --text "the right hand waves"
    """
    require_extra("serving", "c2vl index", "faiss")
    from c2vl.encoder import load_encoder
    from c2vl.serving.index import CARD, build_index, load_index
    from c2vl.skeletons.store import Store

    require_free(out, overwrite=overwrite, known_by=[CARD])
    build_index(load_encoder(encoder), Store.open(store), out)
    opened = load_index(out)
    by = "example and by text" if opened.has_language else "example"
    click.echo(f"{out}: {len(opened.rows)} sequences, to search by {by}")


@click.command()
@encoder_argument
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@click.argument("file", required=False, type=PATH)
@click.option("--text", help="Search by a description instead of an example.")
@click.option("--reader", show_default=".npy", help="Dataset whose format FILE is in.")
@axes_options("FILE", "m, or the reader's")
@click.option("-k", type=click.IntRange(1), default=5, help="Sequences to find.")
def search(
    encoder: str,
    index_folder: Path,
    file: Path | None,
    text: str | None,
    reader: str | None,
    k: int,
    **axes: str | None,
) -> None:
    """Find the motions in an INDEX that are most like the one in FILE, or like a text.

    \b
    Examples:
      c2vl search exported/demo exported/demo_index joints.npy
      c2vl search exported/demo exported/demo_index --text "a person sits down" -k 3
    """
    import statistics

    require_extra("serving", "c2vl search", "faiss")
    from c2vl.encoder import load_encoder
    from c2vl.serving.index import load_index, text_rows
    from c2vl.serving.sequence_files import read_sequences

    if (file is None) == (text is None):
        raise UserError("search: give one of FILE and --text")
    if text is not None and not text.strip():
        raise UserError("--text: is empty; describe a motion")
    loaded, opened = load_encoder(encoder), load_index(index_folder)
    opened.fits(loaded)
    found = {}
    if text is not None:
        (found[text],) = opened.by_text(text_rows(loaded, [text]), len(opened.rows))
    elif file is not None:
        for name, joints in read_sequences(file, reader, loaded.layout, **axes):
            (found[name],) = opened.by_features(_features(loaded, file, joints), len(opened.rows))
    for name, near in found.items():
        click.echo(f"{name}:")
        for one in near[:k]:
            click.echo(f"  {one.score:.3f}  {one.id}  {one.name}")
        middle = statistics.median(one.score for one in near)
        click.echo(f"  {middle:.3f}  the median of all {len(near)}")


@click.command()
@encoder_argument
@click.option("--head", type=FOLDER, help="A classifier of `c2vl classify-fit`.")
@click.option("--index", type=FOLDER, help="An index of `c2vl index`.")
@click.option("--host", default="127.0.0.1", help="Address to bind to.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, help="Port to listen on.")
@click.option("--token-file", type=PATH, help="Holds the bearer token that requests must bring.")
@click.option(
    "--replicas", default=1, type=click.IntRange(1), help="Processes that answer requests."
)
@click.option("--max-body", type=_Finite(0), default=8.0, help="Largest request, MiB.")
@click.option("--max-frames", default=10_000, type=click.IntRange(1), help="Longest sequence.")
@click.option(
    "--rate", type=_Finite(0), default=50.0, help="Requests that a client may send a second."
)
@click.option("--gpu", is_flag=True, help="Each replica takes a GPU.")
def serve(max_body: float, **options: Any) -> None:
    """Serve the ENCODER over HTTP with Ray Serve, until Ctrl-C; its page is at /docs.

    \b
    Examples:
      c2vl serve exported/demo
      c2vl serve models:/demo@best --head exported/demo_head --index exported/demo_index
      c2vl serve exported/demo --host 0.0.0.0 --token-file token.txt --rate 20
    """
    require_extra("serving", "c2vl serve")
    from c2vl.serving.launch import Settings, run

    run(Settings(max_body=int(max_body * 2**20), **options))


def _features(encoder: Encoder, path: Path, joints: Any) -> Any:
    try:
        return encoder.embed([joints])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
