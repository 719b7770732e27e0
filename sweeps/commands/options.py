"""Options and arguments that several sub-commands share."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
NAME = click.argument("name")
OVERRIDES = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
STORAGE = click.option(
    "--storage", type=FOLDER, default="runs", show_default=True, help="Holds sweeps/NAME."
)
ADDRESS = click.option(
    "--address", help="Of a Ray cluster; default: RAY_ADDRESS, else one started on this machine."
)
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
