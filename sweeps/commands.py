"""Commands of ``c2vl-sweep``; heavy imports wait until one is called."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="\b\nExample:\n  c2vl-sweep validate sweeps/presets/demo.yaml trials=40\n")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
def validate(file: Path, overrides: tuple[str, ...]) -> None:
    """Check the sweep FILE: names, ranges, and that drawn settings make experiments."""
    from sweeps.spec import load_sweep

    spec = load_sweep(file, overrides)
    click.echo(f"{file}: {spec.trials} trials over {', '.join(spec.space)}")
