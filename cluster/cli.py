"""The console command ``c2vl-cluster``: where sweeps run. Parses and calls."""

from __future__ import annotations

import click

from c2vl.support.command_line import LazyGroup, run

EXAMPLES = """
\b
Examples:
  c2vl-cluster up --nodes 3
  c2vl-cluster submit preset:debug trials=4
  c2vl-cluster status
  c2vl-cluster logs JOB
  c2vl-cluster down
  c2vl-cluster submit SWEEP.yaml --address http://head:8265 --root /shared/c2vl
"""

COMMANDS = {
    "up": ("cluster.commands:up", "Start a local cluster of several node processes."),
    "preflight": ("cluster.commands:preflight", "Check, from every node, what a sweep will need."),
    "submit": ("cluster.commands:submit", "Run a sweep as a job on the cluster."),
    "resume": ("cluster.commands:resume", "Continue a sweep as a job, after a stop or a kill."),
    "status": ("cluster.commands:status", "Show nodes, their resources, and jobs."),
    "logs": ("cluster.commands:logs", "Show a job's output, to its end."),
    "stop": ("cluster.commands:stop", "Stop a job."),
    "mlflow": ("cluster.mlflow_server:mlflow", "Run MLflow's server for a lab."),
    "down": ("cluster.commands:down", "End the local cluster, and nothing else."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES)
@click.version_option(package_name="c2vl")
def c2vl_cluster() -> None:
    """Run sweeps on a Ray cluster: a local one for trying out, or any that takes jobs."""


def main() -> None:
    """Entry point of the console command."""
    run(c2vl_cluster, "c2vl-cluster")
