"""The console command ``c2vl-sweep``: many experiments. Parses and calls."""

from __future__ import annotations

import click

from c2vl.commandline import LazyGroup, run

EXAMPLES = """
\b
Examples:
  c2vl-sweep validate sweeps/presets/demo.yaml
  c2vl-sweep run sweeps/presets/demo.yaml trials=20
  c2vl-sweep resume demo
  c2vl-sweep status demo
  c2vl-sweep export demo exported/demo
"""

COMMANDS = {
    "validate": ("sweeps.commands:validate", "Check a sweep file, its space and its settings."),
    "run": ("sweeps.commands:run", "Run a sweep file to its report and registered encoder."),
    "resume": ("sweeps.commands:resume", "Go on with a sweep after Ctrl-C or a kill."),
    "status": ("sweeps.commands:status", "Every trial of a sweep, and how it ended."),
    "list": ("sweeps.commands:list_", "The sweeps of a storage folder."),
    "best": ("sweeps.commands:best", "The best trial, and how to train it again."),
    "report": ("sweeps.commands:report", "Tables and pictures of a sweep, finished or not."),
    "export": ("sweeps.commands:export", "Copy the winner's encoder of a finished sweep."),
    "promote": ("sweeps.commands:promote", "Make a registered encoder the best, by the rule."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES)
@click.version_option(package_name="c2vl")
def sweep() -> None:
    """Search over the settings of an experiment."""


def main() -> None:
    """Entry point of the console command."""
    run(sweep, "c2vl-sweep")
