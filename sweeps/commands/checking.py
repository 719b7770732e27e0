"""Checking a sweep before it runs."""

from __future__ import annotations

from pathlib import Path

import click

from sweeps.commands.options import FILE, OVERRIDES


@click.command(epilog="\b\nExample:\n  c2vl-sweep validate sweeps/presets/demo.yaml trials=40\n")
@click.argument("file", type=FILE)
@OVERRIDES
def validate(file: Path, overrides: tuple[str, ...]) -> None:
    """Check the sweep FILE: names, ranges, and that drawn settings make experiments."""
    from sweeps.spec import load_sweep

    spec = load_sweep(file, overrides)
    click.echo(f"{file}: {spec.trials} trials over {', '.join(spec.space)}")
