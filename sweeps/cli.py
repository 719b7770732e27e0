"""The console command ``c2vl-sweep``: many experiments. Parses and calls."""

from __future__ import annotations

import click

from c2vl.commandline import LazyGroup, run

EXAMPLES = """
\b
Examples:
  c2vl-sweep validate sweeps/presets/demo.yaml
  c2vl-sweep validate sweeps/presets/demo.yaml trials=40 sampler.name=random
"""

COMMANDS = {
    "validate": ("sweeps.commands:validate", "Check a sweep file, its space and its settings."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES)
@click.version_option(package_name="c2vl")
def sweep() -> None:
    """Search over the settings of an experiment."""


def main() -> None:
    """Entry point of the console command."""
    run(sweep, "c2vl-sweep")
