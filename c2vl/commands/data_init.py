"""What ``c2vl data init`` does."""

from __future__ import annotations

from pathlib import Path

import click

from c2vl.skeletons.starting import project_files
from c2vl.skeletons.starting.layout_guess import DOUBTFUL
from c2vl.skeletons.starting.survey import Survey, survey


def init(folder: Path) -> None:
    """Survey a folder, write the files, and say what was guessed and what to do next."""
    found = survey(folder)
    name = project_files.name_of(folder)
    contents = project_files.texts(found, folder, name)
    project_files.write(folder, contents)
    click.echo(f"{folder}: wrote {', '.join(contents)}")
    click.echo("Guessed; check it in these files:")
    for what, said in _guesses(found):
        click.echo(f"  {what:12} {said}")
    store = project_files.store_of(name)
    click.echo("Then:")
    for command in (
        project_files.prepare_command(found, folder, name),
        f"c2vl data view {store} 0 first.gif   # do the joints make a person who stands?",
        f"c2vl prompts kinematic {store} {store}/language",
        f"c2vl train {folder}/experiment.yaml",
        f"c2vl-sweep run {folder}/sweep.yaml",
    ):
        click.echo(f"  {command}")


def _guesses(found: Survey) -> list[tuple[str, str]]:
    guess, columns = found.guess, found.columns
    lines = [("recordings", f"{len(found.recordings)}: {found.shown}")]
    if found.variable:
        lines.append(("variable", found.variable))
    for what, files in (("left out", found.left_out), ("unusable", found.unusable)):
        lines += [(what, f"{name}: {why}") for name, why in files[:3]]
        if len(files) > 3:
            lines.append((what, f"{len(files) - 3} more"))
    if found.reader == "bvh":
        lines.append(("layout", "stands in the files; no layout.yaml is needed"))
    elif not guess.misfits:
        lines.append(("layout", "not known: name the joints in layout.yaml"))
    else:
        best = next(iter(guess.misfits.values()))
        doubt = " DOUBTFUL: correct layout.yaml" if best > DOUBTFUL else ""
        fits = ", ".join(f"{name} {value:.2f}" for name, value in guess.misfits.items())
        lines.append(("layout", f"{guess.layout.name} (misfit: {fits}){doubt}"))
    if guess.unit:
        lines.append(("axes, unit", f"{guess.up} points up, in {guess.unit}"))
    else:
        lines.append(("axes, unit", "not known; y up and metres are taken (--up, --unit)"))
    for column, values in columns.values.items():
        lines.append((column, f"{len(set(values))} values: {columns.why[column]}"))
    if "label" not in columns.values:
        lines.append(("label", "the names have no class: fill in the column label"))
    division = project_files.divide(found)
    lines.append(("split", division.why))
    return lines
