"""Inspecting sweeps: which there are, where each stands, and how its trials went."""

from __future__ import annotations

import json
from typing import Any

import click

from c2vl.support.errors import Interrupted, UserError
from c2vl.support.remote import Location, below
from sweeps.commands.options import JSON, NAME, STORAGE

ABSENT = "–"
MANY = 100  # rows; rich takes a second to fit a thousand into its table


@click.command(epilog="\b\nExamples:\n  c2vl-sweep list\n  c2vl-sweep list --json\n")
@STORAGE
@JSON
def list_(storage: Location, as_json: bool) -> None:
    """List the sweeps in a storage folder, with their counts, or why one cannot be read."""
    from sweeps.spec.sweep_folder import SweepFolder

    found = []
    for name in SweepFolder.names(storage):
        try:
            found.append(_listed(storage, name))
        except UserError as error:  # the others are listed all the same
            found.append({"sweep": name, "error": str(error)})
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    if not found:
        raise UserError(f"{storage}: no sweep there yet; c2vl-sweep run sweeps/presets/demo.yaml")
    columns = dict.fromkeys(key for row in found for key in row)
    rows = [{key: str(row.get(key, ABSENT)) for key in columns} for row in found]
    _print(rows, str(below(storage, "sweeps")))


def _listed(storage: Location, name: str) -> dict[str, Any]:
    from sweeps.report.status import counts
    from sweeps.search.study import reader
    from sweeps.spec.lock import is_running
    from sweeps.spec.reading import read_sweep

    spec = read_sweep(storage, name)
    driven = is_running(spec.folder)
    return {"sweep": name, **counts(spec, reader(spec), driven=driven), "driven": driven}


@click.command(epilog="\b\nExamples:\n  c2vl-sweep status demo\n  c2vl-sweep status demo --json\n")
@NAME
@STORAGE
@JSON
def status(name: str, storage: Location, as_json: bool) -> None:
    """Show the sweep NAME: every trial, how it ended, and what was drawn."""
    from sweeps.report.status import COUNTS, state
    from sweeps.report.tables import number
    from sweeps.spec.reading import read_sweep

    now = state(read_sweep(storage, name))
    if as_json:
        click.echo(json.dumps(now, indent=1))
        return
    rows = [{k.split(".")[-1]: number(v) for k, v in row.items()} for row in now["trials"]]
    _print([{k: v for k, v in row.items() if k != "run"} for row in rows], name)
    driven = "its driver runs" if now["driven"] else "no driver runs"
    click.echo("  ".join([*(f"{key} {now[key]}" for key in COUNTS), driven]))
    if now["nodes_wanted"]:
        click.echo(now["nodes_wanted"])
    click.echo("\n".join(now["told_apart"]))


@click.command(epilog="\b\nExample:\n  c2vl-sweep best demo\n")
@NAME
@STORAGE
def best(name: str, storage: Location) -> None:
    """Show the trial that the sweep NAME chose, the best one until then, and how to train it again.

    The command that it prints trains it with its own seed.
    """
    import statistics

    from sweeps.choosing.final_choice import read_choice
    from sweeps.choosing.reliability import told_apart
    from sweeps.choosing.verdict import heading
    from sweeps.report.winner import winning_overrides
    from sweeps.search.study import no_winner, reader, training_of
    from sweeps.spec.lock import refresh_run
    from sweeps.spec.reading import read_sweep

    spec = read_sweep(storage, name)
    study, final = reader(spec).as_it_is_now(), read_choice(spec.folder)
    if final is not None:
        training, by_seed = training_of(spec, final.trial, final.values), final.validation.values()
        over = f", mean of {len(by_seed)} seeds" if len(by_seed) > 1 else ""
        value, said = statistics.mean(by_seed), f"{over}  ({heading(final)})"
    elif ranked := study.ranked():
        (training, value), said = ranked[0], ""
    else:
        counts = study.counts()
        why = no_winner(counts) if counts["complete"] else "no trial has run to its end yet"
        raise UserError(f"{name}: {why}; c2vl-sweep status {name}")
    click.echo(f"{training.name}: {spec.objectives[0].metric} {value:.4f}{said}")
    click.echo("differs from the base: " + " ".join(winning_overrides(spec.base, training)))
    refresh_run(spec.folder, training.folder)
    click.echo(f"c2vl train {training.run.settings} --out runs/train/{training.name}")
    sentences = told_apart(spec, study.trials("complete"), final)
    click.echo("\n".join(sentences))


@click.command(
    epilog="\b\nExamples:\n  c2vl-sweep importance demo\n  c2vl-sweep importance demo --json\n"
)
@NAME
@STORAGE
@JSON
def importance(name: str, storage: Location, as_json: bool) -> None:
    """Show how much of the objective's variance each variable of the sweep NAME explains (fANOVA).

    What is not clearly above the noise, which a variable without meaning gets, says nothing.
    """
    from dataclasses import asdict

    from sweeps.report.importance import FEWEST, importances, mattered
    from sweeps.search.study import reader
    from sweeps.spec.reading import read_sweep

    spec = read_sweep(storage, name)
    found = importances(reader(spec).trials("complete"), spec.space)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
        return
    if not found.variables:
        raise UserError(
            f"{name}: {found.trials} complete trials; {FEWEST} with different values are needed"
        )
    rows = [
        {
            "variable": key + (" (where it is drawn)" if one.conditional else ""),
            "share": f"{one.share:.2f}",
            "90 %": f"{one.low:.2f} – {one.high:.2f}",
            "trials": str(one.trials),
        }
        for key, one in found.variables.items()
    ]
    _print(rows, f"{name}: importance over {found.trials} complete trials")
    click.echo(mattered(found))


@click.command(
    epilog="""
\b
Examples:
  c2vl-sweep compare demo longer
  c2vl-sweep compare demo-0003 demo-0007
"""
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@STORAGE
@JSON
def compare(names: tuple[str, ...], storage: Location, as_json: bool) -> None:
    """Set sweeps, or trials, side by side: settings that differ, objective, final figures."""
    from sweeps.report.comparison import rows, side
    from sweeps.report.tables import number

    if len(set(names)) < 2:
        raise UserError("compare: name two or more, each once")
    found = rows([side(storage, name) for name in dict.fromkeys(names)])
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    shown = [{k: ABSENT if v is None else number(v) for k, v in row.items()} for row in found]
    _print(shown, "side by side")


@click.command(epilog="\b\nExample:\n  c2vl-sweep watch demo\n")
@NAME
@STORAGE
def watch(name: str, storage: Location) -> None:
    """Watch the sweep NAME: running trials, best so far, time left; ends when the sweep does.

    On a terminal a table that keeps itself up to date, else a line for each change. A sweep that
    has only just been started is waited for.
    """
    from sweeps.report.watch import begun, follow

    try:
        follow(begun(storage, name))
    except KeyboardInterrupt:
        raise Interrupted(f"{name}: no longer watched; whether it runs is as it was") from None


def _print(rows: list[dict[str, str]], title: str) -> None:
    from sweeps.running.progress import show_table

    if len(rows) <= MANY:
        show_table(rows, title)
        return
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)))
