"""Checking a sweep before it runs, and the schemas that editors check it by while it is written."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from c2vl.support.errors import UserError
from sweeps.commands.options import ADDRESS, FILE, FOLDER, OVERRIDES


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep validate sweeps/presets/demo.yaml trials=40
  c2vl-sweep validate sweeps/presets/demo.yaml --calibrate
  c2vl-sweep validate SWEEP.yaml --address auto
"""
)
@click.argument("file", type=FILE)
@OVERRIDES
@ADDRESS
@click.option("--calibrate", is_flag=True, help="Train some steps here to estimate time and cost.")
def validate(file: Path, overrides: tuple[str, ...], address: str | None, calibrate: bool) -> None:
    """Check the sweep FILE and everything it needs, and print the plan.

    The file, 1,000 draws from its space, data, disk, resources, MLflow and Optuna's storage; with
    --address, the nodes and the folder they share. It lists all problems together, each with its
    remedy, and ends in status 2. Without a cluster it plans for this machine; it runs nothing.
    """
    from sweeps.planning import cost as plan
    from sweeps.planning import preflight
    from sweeps.spec.reading import load_sweep

    spec = load_sweep(file, overrides)
    findings = preflight.ready(spec)
    fitting, others = preflight.resources(spec, address)
    findings += others
    coming = plan.plan(spec, fitting)
    findings.append(
        preflight.look("disk", lambda: preflight.room(spec, plan.disk(spec, coming.at_once)))
    )
    measured = None
    if calibrate:
        from sweeps.planning import calibration

        try:
            measured = calibration.calibrate(spec.base)
        except UserError as error:
            findings.append(preflight.Finding("calibrate", "", [str(error)]))
    click.echo(f"{file}: {spec.trials} trials over {', '.join(spec.space)}")
    said = [(found.part, found.says) for found in findings if found.says]
    for part, says in [*said, *plan.lines(spec, coming, measured)]:
        click.echo(f"  {part:<10} {says}")
    problems = [text for found in findings for text in found.problems]
    for problem in dict.fromkeys(problems):
        click.echo(f"c2vl-sweep: {problem}", err=True)
    if problems:
        sys.exit(2)


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep schema sweeps/schema
  # first line of a sweep file:
  # yaml-language-server: $schema=../schema/sweep.schema.json
"""
)
@click.argument("out", type=FOLDER, default=Path("schema"))
def schema(out: Path) -> None:
    """Write JSON Schemas of sweep and experiment files into the folder OUT, for editors.

    An editor with a YAML language server then completes names, shows what they mean, and marks
    mistakes, in a file whose first line names the schema.
    """
    from sweeps.spec.json_schema import write_schemas

    for path in write_schemas(out):
        click.echo(f"{path}: first line of a file: # yaml-language-server: $schema={path}")
