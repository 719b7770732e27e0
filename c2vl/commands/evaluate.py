"""``c2vl evaluate``: every protocol by name, tables and pictures of what they gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from c2vl.support.errors import UserError

if TYPE_CHECKING:
    from c2vl.encoder import Encoder
    from c2vl.protocols.evaluate import Options
    from c2vl.protocols.results import Result
    from c2vl.protocols.task import Task

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
RESULTS = Path("runs/results")
F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    epilog="""
\b
Examples:
  c2vl evaluate linear runs/train/demo/encoder runs/stores/demo --split xsub
  c2vl evaluate knn models:/demo@best runs/stores/demo --split xsub --part test
  c2vl evaluate all runs/train/utd-*/encoder runs/stores/utd_mhad --split xsub --part test
  c2vl evaluate table runs/results
"""
)
def evaluate() -> None:
    """Judge encoders by the papers' protocols.

    An ENCODER is a folder, an MLflow address or the id of a run. Validation folds of training
    subjects are scored by default; the test part is read by --part test alone, and counted.
    """


def _shared(command: F) -> F:
    """Options of every protocol."""
    options = [
        click.option("--split", "split_name", required=True, help="A split of the dataset."),
        click.option(
            "--part",
            type=click.Choice(["validation", "test"]),
            default="validation",
            show_default=True,
            help="Folds of training groups, or the test part (counted).",
        ),
        click.option("--seed", type=int, help="Of the draws; default: the encoder's own."),
        click.option(
            "--by",
            type=click.Choice(["subject", "camera", "setup"]),
            default="subject",
            show_default=True,
            help="What folds keep together.",
        ),
        click.option("--folds", default=4, show_default=True, help="Of the training part."),
        click.option(
            "--out", type=FOLDER, default=RESULTS, show_default=True, help="Results folder."
        ),
        click.option("--label", help="Row of the table; default: by stream."),
        click.option("--again", is_flag=True, help="Run also what is there already."),
        click.option("--tracking-uri", help="Also log the rows to this MLflow."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_WORKERS = click.option("--workers", default=1, show_default=True, help="Ray Train workers.")


def _training(command: F) -> F:
    """Options of the protocols that train with labels."""
    options = [
        click.option("--epochs", default=70, show_default=True, help="The shape stays the same."),
        _WORKERS,
        click.option("--gpus-per-worker", default=0.0, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_PLAIN = {
    "linear": "Linear probe: convex to its optimum; SGD as published, last and best epoch.",
    "knn": "Nearest neighbours (k = 1, 20) and retrieval (mAP), cosine.",
    "clustering": "k-means against the classes: NMI and ARI.",
    "few-shot": "Nearest class mean of 1 and 5 labelled sequences a class, 50 draws.",
    "robustness": "Missing joints, shorter clips, other views, noise: a curve each.",
}
_WITH_TRAINING = {
    "fine-tune": "Train encoder and classifier on all labels.",
    "semi-supervised": "Fine-tune with 1 % and 10 % of the labels, 5 draws.",
    "supervised": "The same network from random weights on all labels: a baseline.",
}


def _protocol(name: str, help_line: str) -> None:
    def command(encoder: str, store: Path, **common: Any) -> None:
        _run(name, encoder, store, **common)

    command.__doc__ = help_line
    wrapped = _training(command) if name in _WITH_TRAINING else command
    wrapped = _WORKERS(command) if name == "linear" else wrapped
    arguments = click.argument("encoder")(click.argument("store", type=FOLDER)(_shared(wrapped)))
    example = f"\b\nExample:\n  c2vl evaluate {name} ENCODER runs/stores/demo --split xsub\n"
    evaluate.command(name, epilog=example)(arguments)


for _name, _line in (_PLAIN | _WITH_TRAINING).items():
    _protocol(_name, _line)


@evaluate.command("zero-shot")
@click.argument("encoder")
@click.argument("store", type=FOLDER)
@click.option(
    "--map",
    "zero_shot_by",
    type=click.Choice(["head", "fitted"]),
    default="head",
    show_default=True,
    help="Features enter the concept space by the saved head, or by a map fitted on captions.",
)
@click.option("--texts", type=FILE, help="YAML: class name → description(s).")
@click.option("--concepts", type=FOLDER, help="Language table of the store, for a fitted map.")
@_shared
def zero_shot(encoder: str, store: Path, **options: Any) -> None:
    """Classify by the texts of the classes; no label is read.

    \b
    Examples:
      c2vl evaluate zero-shot ENCODER runs/stores/demo --split xsub
      c2vl evaluate zero-shot ENCODER runs/stores/demo --split xsub --texts descriptions.yaml
    """
    _run("zero-shot", encoder, store, **options)


@evaluate.command("transfer")
@click.argument("encoder")
@click.argument("store", type=FOLDER)
@_training
@_shared
def transfer(encoder: str, store: Path, **options: Any) -> None:
    """Judge an encoder on another dataset: linear, neighbours and fine-tuning.

    Joints are converted to the encoder's layout first, where the dataset has another one.

    \b
    Example:
      c2vl evaluate transfer runs/train/demo/encoder runs/stores/utd_mhad --split xsub --part test
    """
    from dataclasses import replace

    from c2vl.protocols.evaluate import evaluate as run
    from c2vl.protocols.transfer import converted_store

    asked, make = _asked(store, options)
    loaded, ledger = _load(encoder, asked.out)
    task = make(loaded)
    task = replace(task, store=converted_store(task.store, loaded.layout))
    label, rows = options["label"], []
    for name in ("linear", "knn", "fine-tune"):
        rows += run(name, task, asked, ledger=ledger, who=label, transferred=True)
    _finish(rows, options)


@evaluate.command("ensemble")
@click.argument("encoders", nargs=3, metavar="JOINT BONE MOTION")
@click.argument("store", type=FOLDER)
@_shared
def ensemble(encoders: tuple[str, ...], store: Path, **options: Any) -> None:
    """Fuse the scores of three streams' linear probes, 0.6/0.6/0.4.

    \b
    Example:
      c2vl evaluate ensemble runs/joint/encoder runs/bone/encoder runs/motion/encoder \\
          runs/stores/demo --split xsub
    """
    from c2vl.protocols.evaluate import evaluate_ensemble

    asked, make = _asked(store, options)
    loaded = [_load(source, asked.out) for source in encoders]
    tasks = {encoder.card["stream"]: make(encoder) for encoder, _ in loaded}
    seeds = {task.seed for task in tasks.values()}
    if len(seeds) > 1 and options["seed"] is None:
        asked.say(f"ensemble: streams of different training seeds {sorted(seeds)}")
    rows = evaluate_ensemble(tasks, asked, ledger=loaded[0][1], who=options["label"])
    _finish(rows, options)


@evaluate.command("all")
@click.argument("encoders", nargs=-1, required=True)
@click.argument("store", type=FOLDER)
@click.option("--texts", type=FILE, help="YAML: class name → description(s), for zero-shot.")
@click.option("--concepts", type=FOLDER, help="Language table, for encoders without a head.")
@_training
@_shared
def all_(encoders: tuple[str, ...], store: Path, **options: Any) -> None:
    """Run every protocol on ENCODERS, and what they are read against; print the table.

    Encoders of several seeds become mean and deviation; with bone and motion encoders of the same
    seeds there is the ensemble too. What is in --out already is not run again.

    \b
    Example:
      c2vl evaluate all runs/train/utd-*/encoder runs/stores/utd_mhad --split xsub --part test
    """
    from c2vl.protocols.evaluate import evaluate_all
    from c2vl.protocols.terminal_tables import show_tables

    if options["label"] is not None:
        raise UserError("--label: `all` names its rows itself; give it to a single protocol")
    asked, make = _asked(store, options)
    rows = evaluate_all([_load(source, asked.out) for source in encoders], make, asked)
    _track(rows, options)
    show_tables(rows)


@evaluate.command("table")
@click.argument("folders", nargs=-1, type=FOLDER, metavar="[RESULTS]...")
@click.option("--markdown", is_flag=True, help="For a page.")
@click.option("--parquet", type=FILE, help="Also write every row there.")
@click.option("--curves", type=FILE, help="Also draw the robustness curves there (PNG).")
def table(
    folders: tuple[Path, ...], markdown: bool, parquet: Path | None, curves: Path | None
) -> None:
    """Build the paper's table from result rows, beside published figures.

    \b
    Examples:
      c2vl evaluate table
      c2vl evaluate table runs/results --markdown --parquet results.parquet
    """
    from c2vl.protocols.results import read_folder, write_parquet
    from c2vl.protocols.terminal_tables import show_tables

    rows = read_folder(folders or (RESULTS,))
    show_tables(rows, as_markdown=markdown)
    if parquet is not None:
        write_parquet(parquet, rows)
        click.echo(f"{parquet}: {len(rows)} rows", err=True)
    if curves is not None:
        from c2vl.protocols.pictures import draw_curves

        click.echo(f"{draw_curves(rows, curves)}: robustness curves", err=True)


@evaluate.command("pictures")
@click.argument("encoder")
@click.argument("store", type=FOLDER)
@click.argument("folder", type=FOLDER)
@_shared
def pictures(encoder: str, store: Path, folder: Path, **options: Any) -> None:
    """Draw confusion matrix, accuracy by class and a map of the features into FOLDER.

    \b
    Example:
      c2vl evaluate pictures ENCODER runs/stores/demo pictures --split xsub
    """
    from uuid import uuid4

    from c2vl.encoder.ledger import count_scoring
    from c2vl.protocols.pictures import draw
    from c2vl.support.files import see_writable

    see_writable(folder)
    asked, make = _asked(store, options)
    loaded, ledger = _load(encoder, asked.out)
    task = make(loaded)
    if task.part == "test":
        digests = (loaded.digest, "pictures", task.store.digest)
        count_scoring(ledger, *digests, task.split.name, run=uuid4().hex)
    drawn = draw(task, folder)
    if options["tracking_uri"]:
        _tracker()(options["tracking_uri"], [], drawn, loaded)
    click.echo("\n".join(str(path) for path in drawn))


def _run(protocol: str, encoder: str, store: Path, **options: Any) -> None:
    from c2vl.protocols.evaluate import evaluate as run

    asked, make = _asked(store, options)
    loaded, ledger = _load(encoder, asked.out)
    rows = run(protocol, make(loaded), asked, ledger=ledger, who=options["label"])
    _finish(rows, options)


def _load(source: str, out: Path) -> tuple[Encoder, Path]:
    """An encoder, and the folder where its test scorings are counted."""
    from c2vl.encoder import load_encoder
    from c2vl.encoder.sources import is_address

    return load_encoder(source), out if is_address(source) else Path(source)


def _asked(store: Path, options: dict[str, Any]) -> tuple[Options, Callable[[Encoder], Task]]:
    """Options of a command line, and how a task is made of an encoder."""
    from c2vl.protocols.evaluate import Options
    from c2vl.protocols.supervised import Recipe
    from c2vl.protocols.task import Task
    from c2vl.protocols.workers import Machines
    from c2vl.protocols.zeroshot import read_texts
    from c2vl.skeletons.store import Store

    for name, least in (("epochs", 1), ("workers", 1), ("folds", 2), ("gpus_per_worker", 0)):
        if options.get(name) is not None and options[name] < least:
            raise UserError(f"--{name.replace('_', '-')}: {options[name]}; give {least} or more")
    if options.get("seed") is not None and options["seed"] < 0:
        raise UserError(f"--seed: {options['seed']}; give 0 or more")
    opened = Store.open(store)
    texts = options.get("texts")
    recipe = Recipe()
    if options.get("epochs", recipe.epochs) != recipe.epochs:
        recipe = recipe.scaled(options["epochs"])
    asked = Options(
        out=options["out"],
        recipe=recipe,
        machines=Machines(options.get("workers", 1), options.get("gpus_per_worker", 0.0)),
        zero_shot_by=options.get("zero_shot_by", "head"),
        texts=read_texts(texts) if texts is not None else None,
        concepts=options.get("concepts"),
        again=options["again"],
        say=lambda line: click.echo(line, err=True),
    )

    def make(encoder: Encoder) -> Task:
        seed = options["seed"]
        if seed is None:
            seed = int(encoder.card.get("provenance", {}).get("seed") or 0)
        return Task(
            *(encoder, opened, options["split_name"], options["part"], seed),
            *(options["by"], options["folds"]),
        )

    return asked, make


def _finish(rows: list[Result], options: dict[str, Any]) -> None:
    from c2vl.protocols.terminal_tables import show_rows

    _track(rows, options)
    show_rows(rows)
    if number := rows[0].test_scoring:
        click.echo(f"test scoring number {number} of this encoder")


def _track(rows: list[Result], options: dict[str, Any]) -> None:
    if options["tracking_uri"]:
        _tracker()(options["tracking_uri"], rows, [], None)


def _tracker() -> Any:
    """The plugin that logs rows to MLflow, which this package does not know."""
    from c2vl.encoder.sources import plugin

    return plugin("c2vl.trackers", "mlflow", "--tracking-uri")
