"""``c2vl train`` and ``c2vl settings``; heavy imports wait until one is called."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from c2vl.commands.arguments import FILE, IN_MLFLOW, LOCATION, TRACKING, imports_option
from c2vl.support.errors import Interrupted, StorageAway, TrainingError, UserError
from c2vl.support.remote import Location, below


@click.command()
@click.argument("config", type=FILE)
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--out", type=LOCATION, show_default="runs/train/NAME", help="Run folder, or its URL."
)
@click.option(
    "--max-failures",
    default=0,
    type=click.IntRange(0),
    help="Lost workers that training survives.",
)
@click.option(
    TRACKING,
    help="MLflow server or database that also gets the run: figures, settings, data, encoder.",
    **IN_MLFLOW,
)
def train(
    config: Path,
    overrides: tuple[str, ...],
    out: Location | None,
    max_failures: int,
    tracking_uri: str | None,
) -> None:
    """Train the experiment in CONFIG, with any settings overridden.

    The same command on the same folder continues after an interruption, with the same result.

    \b
    Examples:
      c2vl train experiment.yaml
      c2vl train experiment.yaml optim.lr=0.05 train.epochs=30 --out runs/train/short
      c2vl train experiment.yaml train.workers=4 train.batch_size=128
      c2vl train experiment.yaml --out s3://bucket/runs/first
      c2vl train experiment.yaml --tracking-uri http://mlflow.lab:5000
    """
    from c2vl.config.reading import load

    experiment = load(config, overrides)
    from c2vl.training.beforehand import require_data  # these take longer
    from c2vl.training.run_folder import RunFolder

    folder = out or Path("runs/train") / experiment.name
    if isinstance(folder, Path):
        RunFolder(folder).require_own()
    ended = isinstance(folder, Path) and RunFolder(folder).done
    if not ended and not isinstance(experiment.data.store, str):  # a URL's is fetched when needed
        require_data(experiment)
    from c2vl.encoder.sources import plugin  # and these import torch
    from c2vl.training.launch import fit
    from c2vl.training.progress import following

    made = isinstance(folder, Path) and not folder.exists()
    log: Any = nullcontext()
    if tracking_uri:
        log = plugin("c2vl.trackers", "training", TRACKING)(tracking_uri, experiment, folder)
    with following(folder, experiment.train.epochs):
        try:
            with log as reported:
                fit(
                    experiment,
                    folder,
                    name=experiment.name,
                    on_report=reported,
                    max_failures=max_failures,
                )
        except KeyboardInterrupt:
            where = f"continues from the last checkpoint in {folder}"
            if isinstance(folder, str):
                where += ", if there is one"  # asking a server may take long
            elif not any(RunFolder(folder).checkpoints.glob("step-*.pt")):
                where = "starts anew"
            raise Interrupted(f"stopped; the same command {where}") from None
        except StorageAway as error:
            raise StorageAway(f"{error}; then the same command continues") from None
        except (UserError, TrainingError):
            RunFolder.at(folder).abandon(made=made)
            raise
    click.echo(f"encoder: {below(folder, RunFolder(Path()).encoder.name)}")


@click.command()
@click.argument("config", type=FILE, required=False)
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@imports_option("parts")
def settings(config: Path | None, overrides: tuple[str, ...], imports: tuple[str, ...]) -> None:
    """List every setting of an experiment: name, default, meaning, choices or range.

    Settings of parts are those of the parts that CONFIG or KEY=VALUE names; what else could be
    named stands beside the name.

    \b
    Examples:
      c2vl settings | grep temperature
      c2vl settings experiment.yaml
      c2vl settings model.name=ctrgcn --imports my_parts.py
    """
    from c2vl.config.experiment import Experiment
    from c2vl.config.reading import (
        PRESETS,
        allowed,
        described,
        named_file,
        override,
        parse_overrides,
        read_experiment,
        with_imports,
    )
    from c2vl.registry import import_modules

    if config is not None and "=" in str(config):
        config, overrides = None, (str(config), *overrides)
    import_modules(imports)
    values: dict[str, Any] = {}
    if config is not None:
        config = named_file(config, PRESETS)
        values = with_imports(read_experiment(config), config.parent)
    values = override(values, parse_overrides(overrides))
    may_be = allowed(Experiment, values)
    for name, default, meaning in described(Experiment, values):
        click.echo(f"{name}={default}" + (f"\n    {meaning}" if meaning else ""))
        if name in may_be:
            click.echo(f"    {may_be[name]}")
