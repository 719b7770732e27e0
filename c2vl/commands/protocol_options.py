"""The options of commands that run protocols: those of every protocol, and those of settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from c2vl.commands.arguments import FOLDER, IN_MLFLOW, LOCATION, TRACKING
from c2vl.config.experiment import Format
from c2vl.config.problems import members
from c2vl.registry import Part
from c2vl.support.command_line import LocalPath
from c2vl.support.errors import UserError

RESULTS = Path("runs/results")
SHARED: list[click.Parameter] = [
    click.Option(
        ["--split", "split_name"], required=True, help="Named split, loso:N or a CSV file."
    ),
    click.Option(
        ["--part"],
        type=click.Choice(["validation", "test"]),
        default="validation",
        help="Score folds of the training part, or the test part, which is counted.",
    ),
    click.Option(
        ["--seed"],
        type=click.IntRange(0),
        show_default="the encoder's",
        help="Seed of every random draw.",
    ),
    click.Option(
        ["--by"],
        type=click.Choice(["subject", "camera", "setup"]),
        default="subject",
        help="Column whose groups no fold divides.",
    ),
    click.Option(
        ["--folds"], type=click.IntRange(2), default=4, help="Folds of the training part."
    ),
    click.Option(
        ["--gpus-per-worker"],
        type=click.FloatRange(0, 1),
        default=0.0,
        help="1: networks, probes and neighbours use a GPU; 0: the CPU.",
    ),
    click.Option(
        ["--precision"],
        type=click.Choice(get_args(Format)),
        default="auto",
        help="Format that networks compute in: auto is fp32, or tf32 on a GPU that has it.",
    ),
    click.Option(["--out"], type=FOLDER, default=RESULTS, help="Folder of the results."),
    click.Option(["--label"], show_default="kind, stream", help="Name of the row in tables."),
    click.Option(["--again"], is_flag=True, help="Run protocols again that have a result."),
    click.Option(
        [TRACKING], help="MLflow server or database that also gets the rows.", **IN_MLFLOW
    ),
]
ENCODER = click.Argument(["encoder"])
STORE = click.Argument(["store"], type=LOCATION)


def setting_options(found: Iterable[Part]) -> list[click.Parameter]:
    """Return an option for each setting of protocols that has a description, each name once."""
    taken = {param.name for param in [*SHARED, ENCODER, STORE]}
    options: dict[str, click.Parameter] = {}
    for part in found:
        settings = part.load_settings()
        for name, field in settings.model_fields.items() if settings else ():
            if not field.description or name in options:
                continue
            if name in taken:
                raise UserError(
                    f"protocol {part.name}: its setting {name} has the name of an option of every "
                    "protocol; rename it"
                )
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            options[name] = click.Option(
                [f"--{name.replace('_', '-')}", name],
                type=_click_type(field.annotation),
                required=field.is_required(),
                default=default,
                show_default=default is not None,
                help=field.description,
            )
    return list(options.values())


def _click_type(annotation: Any) -> Any:
    """Return the type of an option for a field; an optional field has that of its value."""
    kinds = [kind for kind in members(annotation) if kind is not type(None)]
    if get_origin(kinds[0]) is Literal:
        return click.Choice(get_args(kinds[0]))
    if Path in kinds:
        return LOCATION if str in kinds else LocalPath()
    return kinds[0]
