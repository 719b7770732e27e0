"""The console command ``c2vl-sweep``: many experiments. Parses and calls."""

from __future__ import annotations

import click

from c2vl.support.command_line import LazyGroup, run

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
    "validate": ("sweeps.commands.planning:validate", "Check a sweep file and all it will need."),
    "schema": ("sweeps.commands.planning:schema", "JSON Schemas of the files, for editors."),
    "run": ("sweeps.commands.running:run", "Run a sweep file to its report, registered encoder."),
    "resume": ("sweeps.commands.running:resume", "Go on with a sweep after Ctrl-C or a kill."),
    "extend": ("sweeps.commands.running:extend", "Add trials to a sweep, finished or not."),
    "stop": ("sweeps.commands.running:stop", "Ask a running sweep to stop, and wait for it."),
    "status": ("sweeps.commands.looking:status", "Every trial of a sweep, and how it ended."),
    "list": ("sweeps.commands.looking:list_", "The sweeps of a storage folder."),
    "best": ("sweeps.commands.looking:best", "The best trial, and how to train it again."),
    "watch": ("sweeps.commands.looking:watch", "A running sweep, as it goes."),
    "compare": ("sweeps.commands.looking:compare", "Sweeps or trials, side by side."),
    "importance": ("sweeps.commands.looking:importance", "Which variables mattered (fANOVA)."),
    "report": ("sweeps.commands.results:report", "Tables and pictures, finished or not."),
    "export": ("sweeps.commands.results:export", "Copy the winner's encoder of a finished sweep."),
    "promote": ("sweeps.commands.results:promote", "Make a registered encoder the best, by rule."),
    "reconcile": ("sweeps.commands.records:reconcile", "Bring MLflow to what the study says."),
    "delete": ("sweeps.commands.records:delete", "Delete a sweep from everywhere; asks."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES)
@click.version_option(package_name="c2vl")
def sweep() -> None:
    """Search over the settings of an experiment."""


def main() -> None:
    """Entry point of the console command."""
    run(sweep, "c2vl-sweep")
