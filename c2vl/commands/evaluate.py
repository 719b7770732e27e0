"""``c2vl evaluate``: every registered protocol by its name, and tables and pictures of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2vl.commands.arguments import FILE, FOLDER, encoder_argument, store_argument
from c2vl.commands.protocol_options import ENCODER, RESULTS, SHARED, STORE, setting_options
from c2vl.registry import Part, find, import_modules, names, parts
from c2vl.support.errors import UserError

if TYPE_CHECKING:
    from c2vl.encoder import Encoder
    from c2vl.protocols.evaluate import Evaluation
    from c2vl.protocols.results import Result
    from c2vl.protocols.task import Task
    from c2vl.support.remote import Location

TRANSFERRED = ("linear", "knn", "fine-tune")


class ProtocolGroup(click.Group):
    """The commands of this module, after one for each registered protocol."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*names("protocol"), *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        part = find("protocol", cmd_name)

        def command(encoder: str, store: Location, **options: Any) -> None:
            run, make = _prepared(store, options, [part.name])
            loaded, ledger = _load(encoder, run.out)
            rows = run.run(part.name, make(loaded), ledger=ledger, label=options["label"])
            _finish(rows, options)

        line = f"c2vl evaluate {part.name} ENCODER runs/stores/demo --split xsub"
        return click.Command(
            part.name,
            callback=command,
            params=[ENCODER, STORE, *setting_options([part]), *SHARED],
            help=part.help,
            epilog=f"\b\nExample:\n  {line}\n",
        )


@click.group(
    cls=ProtocolGroup,
    epilog="""
\b
Examples:
  c2vl evaluate linear runs/train/demo/encoder runs/stores/demo --split xsub
  c2vl evaluate knn models:/demo@best runs/stores/demo --split xsub --part test
  c2vl evaluate zero-shot ENCODER runs/stores/demo --split xsub --texts descriptions.yaml
  c2vl evaluate all runs/train/utd-*/encoder runs/stores/utd_mhad --split xsub --part test
  c2vl evaluate --imports my_protocol.py mine ENCODER runs/stores/demo --split xsub
  c2vl evaluate table runs/results
""",
)
@click.option(
    "--imports",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, param, value: import_modules(value),
    metavar="MODULE",
    help="Module or .py file that registers protocols of yours; repeatable.",
)
def evaluate() -> None:
    """Score encoders by the papers' protocols.

    An ENCODER is a folder, an MLflow address or the id of a run. Folds of the training part are
    scored by default (validation); --part test scores the test part, and counts each test scoring.
    """


class _Settings(click.Command):
    """A command with the options of several protocols' settings, and of every protocol.

    Args:
        of: returns those protocols; called late, when ``--imports`` has added others'.
    """

    def __init__(self, *args: Any, of: Callable[[], list[Part]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._of = of

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *setting_options(self._of()), *SHARED, own[-1]]


@evaluate.command(
    "transfer", cls=_Settings, of=lambda: [find("protocol", name) for name in TRANSFERRED]
)
@encoder_argument
@store_argument
def transfer(encoder: str, store: Location, **options: Any) -> None:
    """Score an encoder on another dataset: linear, neighbours and fine-tuning.

    Joints are converted to the encoder's layout first, where the dataset has another one.

    \b
    Example:
      c2vl evaluate transfer runs/train/demo/encoder runs/stores/utd_mhad --split xsub --part test
    """
    from dataclasses import replace

    from c2vl.protocols.transfer import converted_store

    run, make = _prepared(store, options, TRANSFERRED)
    loaded, ledger = _load(encoder, run.out)
    task = make(loaded)
    task = replace(task, store=converted_store(task.store, loaded.layout))
    rows = []
    for name in TRANSFERRED:
        rows += run.run(name, task, ledger=ledger, label=options["label"], transferred=True)
    _finish(rows, options)


@evaluate.command("ensemble", cls=_Settings, of=list)
@click.argument("encoders", nargs=3, metavar="JOINT BONE MOTION")
@store_argument
def ensemble(encoders: tuple[str, ...], store: Location, **options: Any) -> None:
    """Fuse the scores of three streams' linear probes, 0.6/0.6/0.4.

    \b
    Example:
      c2vl evaluate ensemble runs/joint/encoder runs/bone/encoder runs/motion/encoder \\
          runs/stores/demo --split xsub
    """
    run, make = _prepared(store, options)
    loaded = [_load(source, run.out) for source in encoders]
    tasks = {encoder.card["stream"]: make(encoder) for encoder, _ in loaded}
    seeds = {task.seed for task in tasks.values()}
    if len(seeds) > 1 and options["seed"] is None:
        run.say(f"ensemble: streams of different training seeds {sorted(seeds)}")
    _finish(run.ensemble(tasks, ledger=loaded[0][1], label=options["label"]), options)


@evaluate.command("all", cls=_Settings, of=lambda: parts("protocol"))
@click.argument("encoders", nargs=-1, required=True)
@click.option("--only", multiple=True, metavar="PROTOCOL", help="Run this alone; repeatable.")
@store_argument
def all_(encoders: tuple[str, ...], store: Location, only: tuple[str, ...], **options: Any) -> None:
    """Run every protocol on ENCODERS, and the baselines beside them; print the table.

    Encoders of several seeds become mean and deviation; with bone and motion encoders of the same
    seeds there is the ensemble too. What has a result in --out already is not run again.
    It says first about how long it will take.

    \b
    Examples:
      c2vl evaluate all runs/train/utd-*/encoder runs/stores/utd_mhad --split xsub --part test
      c2vl evaluate all ENCODER runs/stores/demo --split xsub --only linear --only knn
    """
    from c2vl.protocols.terminal_tables import show_tables

    if options["label"] is not None:
        raise UserError("--label: `all` names its rows itself; give it to a single protocol")
    chosen = [find("protocol", name).name for name in only] or names("protocol")
    run, make = _prepared(store, options, chosen)
    rows = run.all([_load(source, run.out) for source in encoders], make, only=chosen)
    _track(rows, options)
    show_tables(rows)


@evaluate.command("table")
@click.argument("folders", nargs=-1, type=FOLDER, metavar="[RESULTS]...")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--parquet", type=FILE, help="Also write every row to this file.")
@click.option("--curves", type=FILE, help="Also draw the robustness curves to this PNG file.")
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


@evaluate.command("pictures", cls=_Settings, of=list)
@encoder_argument
@store_argument
@click.argument("folder", type=FOLDER)
def pictures(encoder: str, store: Location, folder: Path, **options: Any) -> None:
    """Draw confusion matrix, accuracy by class and a map of the features into FOLDER.

    \b
    Example:
      c2vl evaluate pictures ENCODER runs/stores/demo pictures --split xsub
    """
    from uuid import uuid4

    from c2vl.encoder.ledger import count_scoring
    from c2vl.protocols.pictures import draw
    from c2vl.support.files import require_writable

    require_writable(folder)
    run, make = _prepared(store, options)
    loaded, ledger = _load(encoder, run.out)
    task = make(loaded)
    if task.part == "test":
        digests = (loaded.digest, "pictures", task.store.digest)
        count_scoring(ledger, *digests, task.split.name, run=uuid4().hex)
    drawn = draw(task, folder)
    if options["tracking_uri"]:
        _tracker()(options["tracking_uri"], [], drawn, loaded)
    click.echo("\n".join(str(path) for path in drawn))


def _load(source: str, out: Path) -> tuple[Encoder, Path]:
    """Return an encoder, and the folder where its test scorings are counted."""
    from c2vl.encoder import load_encoder
    from c2vl.encoder.sources import folder_of, is_address

    return load_encoder(source), out if is_address(source) else folder_of(Path(source))


def _prepared(
    store: Location, options: dict[str, Any], protocols: Iterable[str] = ()
) -> tuple[Evaluation, Callable[[Encoder], Task]]:
    """Return what runs protocols as a command line says, and what makes the task of an encoder."""
    from c2vl.protocols.evaluate import Evaluation, settings_of
    from c2vl.protocols.task import Task
    from c2vl.skeletons.store import Store
    from c2vl.training.device import precision, worker_device

    values = {name: value for name, value in options.items() if value is not None}
    for protocol in protocols:
        settings_of(protocol, values)  # refuse a value out of range before anything is loaded
    form = precision(options["precision"], worker_device(options["gpus_per_worker"]))
    opened = Store.open(store)
    run = Evaluation(
        options["out"], values, options["again"], lambda line: click.echo(line, err=True)
    )

    def make(encoder: Encoder) -> Task:
        seed = options["seed"]
        if seed is None:
            seed = int(encoder.card.get("provenance", {}).get("seed") or 0)
        by, folds = options["by"], options["folds"]
        named = {"split_name": options["split_name"], "part": options["part"], "precision": form}
        return Task(encoder.to(form.device), opened, seed=seed, by=by, k=folds, **named)

    return run, make


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
