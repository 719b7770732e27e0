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
    "validate": (
        "sweeps.commands.planning:validate",
        "Check a sweep file and all it needs.",
    ),
    "schema": ("sweeps.commands.planning:schema", "Write JSON Schemas of the files, for editors."),
    "run": (
        "sweeps.commands.running:run",
        "Run a sweep file, to report and encoder.",
    ),
    "resume": ("sweeps.commands.running:resume", "Continue a sweep after Ctrl-C or a kill."),
    "extend": ("sweeps.commands.running:extend", "Add trials to a sweep, finished or not."),
    "stop": ("sweeps.commands.running:stop", "Ask a running sweep to stop, and wait for it."),
    "status": (
        "sweeps.commands.inspecting:status",
        "Show every trial, and how it ended.",
    ),
    "list": ("sweeps.commands.inspecting:list_", "List the sweeps of a storage folder."),
    "best": ("sweeps.commands.inspecting:best", "Show the best trial, and how to train it again."),
    "watch": ("sweeps.commands.inspecting:watch", "Follow a running sweep."),
    "compare": ("sweeps.commands.inspecting:compare", "Show sweeps or trials side by side."),
    "importance": (
        "sweeps.commands.inspecting:importance",
        "Show which variables mattered.",
    ),
    "report": ("sweeps.commands.outputs:report", "Write tables and pictures, finished or not."),
    "export": ("sweeps.commands.outputs:export", "Copy the winner's encoder of a finished sweep."),
    "promote": ("sweeps.commands.outputs:promote", "Make a registered encoder the best, by rule."),
    "reconcile": ("sweeps.commands.records:reconcile", "Make MLflow agree with the study."),
    "delete": ("sweeps.commands.records:delete", "Delete a sweep everywhere, after asking."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES)
@click.version_option(package_name="c2vl")
def sweep() -> None:
    """Search over the settings of an experiment."""


def main() -> None:
    """Entry point of the console command."""
    run(sweep, "c2vl-sweep")
