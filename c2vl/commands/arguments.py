"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from c2vl.registry import absolute

PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

encoder_argument = click.argument("encoder")
store_argument = click.argument("store", type=FOLDER)
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
