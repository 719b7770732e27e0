"""Options and arguments that several sub-commands share."""

from __future__ import annotations

import click

from c2vl.support.command_line import LocalPath, LocationType

FILE = LocalPath(dir_okay=False)
FOLDER = LocalPath(file_okay=False)
NAME = click.argument("name")
OVERRIDES = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
STORAGE = click.option(
    "--storage",
    type=LocationType(),
    default="runs",
    show_default=True,
    help="Folder or URL; holds sweeps/NAME.",
)
ADDRESS = click.option(
    "--address",
    help="Of a Ray cluster; default: RAY_ADDRESS, else that of this SLURM job, else one started on "
    "this machine; `local` always starts one.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
