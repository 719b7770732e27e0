"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from c2vl.registry import absolute
from c2vl.support.command_line import LocalPath, LocationType

PATH = LocalPath()
FOLDER = LocalPath(file_okay=False)
FILE = LocalPath(dir_okay=False)
LOCATION = LocationType()

encoder_argument = click.argument("encoder")
store_argument = click.argument("store", type=LOCATION)
TRACKING = "--tracking-uri"
IN_MLFLOW: dict[str, Any] = {"metavar": "URI", "envvar": "MLFLOW_TRACKING_URI", "show_envvar": True}
"""How :data:`TRACKING` is given, besides its help."""
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is at OUT.")


def imports_option(registers: str) -> Callable[..., Any]:
    """Return ``--imports``: modules that register parts of the user's own.

    Paths become absolute, because Ray's actors run in other folders.
    """
    return click.option(
        "--imports",
        multiple=True,
        metavar="MODULE",
        callback=lambda _, __, modules: tuple(map(absolute, modules)),
        help=f"Module or .py file that registers {registers} of yours; repeatable.",
    )


def axes_options(source: str, unit: str) -> Callable[..., Any]:
    """Return ``--up`` and ``--unit``: how the joints of files are given.

    Args:
        source: what the command calls the files.
        unit: the unit when none is given, in words.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option(
            "--unit",
            show_default=unit,
            help=f"Of {source}'s numbers: m, cm, mm, inch, or its length in metres.",
        )(command)
        return click.option(
            "--up", show_default="y", help=f"What points up in {source}: x, y, z, -x, -y or -z."
        )(command)

    return add
