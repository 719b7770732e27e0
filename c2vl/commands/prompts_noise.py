"""``c2vl prompts check``, ``corrupt`` and ``filter``: pairs that are missing, or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from c2vl.commands.arguments import LOCATION

if TYPE_CHECKING:
    from c2vl.prompts.noise import Fit
    from c2vl.support.remote import Location


@click.command()
@click.argument("table", type=LOCATION)
@click.argument("store", type=LOCATION)
@click.option("--list", "listed", is_flag=True, help="Name every sequence.")
@click.option("--split", default="xsub", help="Wrong pairs are estimated in its training part.")
def check(table: Location, store: Location, listed: bool, split: str) -> None:
    """Compare the sequences of TABLE with those of STORE: which have no prompts, which are extra.

    Also estimates the share of wrong pairs, as `c2vl prompts filter` finds them.

    \b
    Example:
      c2vl prompts check runs/pku/language runs/stores/pku --list
    """
    from c2vl.prompts.noise import fit
    from c2vl.prompts.table import ConceptTable
    from c2vl.skeletons.store import Store
    from c2vl.support.errors import UserError

    there, opened = Store.open(store), ConceptTable.open(table)
    ids = [str(name) for name in there.index["id"]]
    found = opened.joined(ids)
    click.echo(f"{found.present.sum()} of {len(ids)} sequences of {store} have prompts in {table}")
    for what, names in (("missing here", found.missing), ("not in the store", found.surplus)):
        shown = names if listed else names[:5]
        more = ", …" if len(shown) < len(names) else ""
        click.echo(f"{len(names)} {what}" + (f": {', '.join(shown)}{more}" if names else ""))
    if found.missing:
        click.echo("training: set prompts.missing to exclude or mask, or make the table again")
    try:
        _tell_fit(fit(there, opened, split_name=split))
    except UserError as error:  # too few pairs, or no such split: the rest has been told
        click.echo(f"wrong pairs: not estimated ({error})")


@click.command()
@click.argument("table", type=LOCATION)
@click.argument("out", type=LOCATION)
@click.option(
    "--kind",
    type=click.Choice(["swapped", "generic", "dropped", "frames"]),
    default="swapped",
    help="Another sequence's prompts, the most common ones, none, or half of them another's.",
)
@click.option("--share", default=0.4, type=click.FloatRange(0, 1), help="Of the sequences.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Decides which sequences.")
@click.option("--overwrite", is_flag=True, help="Replace a table at OUT.")
def corrupt(table: Location, out: Location, **options: Any) -> None:
    """Copy TABLE to OUT with known noise, to measure what a method does about wrong pairs.

    The manifest of OUT names the sequences. One seed and share choose the same ones for every
    kind: `dropped` is what an oracle leaves of the table that another kind spoils.

    \b
    Examples:
      c2vl prompts corrupt runs/stores/utd/language runs/wrong --kind swapped --share 0.4
      c2vl prompts corrupt runs/stores/utd/language runs/oracle --kind dropped --share 0.4
    """
    from c2vl.prompts import noise
    from c2vl.prompts.table import KIND, ConceptTable
    from c2vl.skeletons.staging import made_at

    opened = ConceptTable.open(table)
    with made_at(out, KIND, fresh=options["overwrite"]) as folder:
        made = noise.corrupt(opened, folder, **options)
    rows = made.manifest["settings"]["corrupted"]["rows"]
    click.echo(f"{out}: {options['kind']} prompts in {len(rows)} of {len(opened.ids)} sequences")


@click.command("filter")
@click.argument("store", type=LOCATION)
@click.argument("table", type=LOCATION)
@click.argument("out", type=LOCATION)
@click.option("--split", default="xsub", help="Its training part is looked at.")
@click.option(
    "--doubtful",
    type=click.Choice(["leave_out", "soften"]),
    default="leave_out",
    help="What is done with pairs that look wrong; soften moves each towards its neighbours.",
)
@click.option(
    "--average", is_flag=True, help="Keep all, each with the mean of its neighbours' prompts."
)
@click.option("--overwrite", is_flag=True, help="Replace a table at OUT.")
def filter_(
    store: Location,
    table: Location,
    out: Location,
    split: str,
    doubtful: str,
    average: bool,
    overwrite: bool,
) -> None:
    """Copy TABLE to OUT without the pairs that look wrong, or softened; no label is read.

    A pair looks wrong where its prompts fit those of the 10 nearest raw skeletons as badly as
    shuffled prompts do; as many are left out as are estimated to be wrong. Train with
    prompts.missing=exclude, and with the epochs printed for as many optimizer steps.
    docs/evidence.md has what it gains.

    With --doubtful soften no pair is left out: the likelier it is wrong, the more of its prompts'
    features come from those neighbours whose own pairs look right. Train as with any table.

    With --average each is the mean of its neighbours: what the joints alone put into prompts, a
    reference.

    \b
    Examples:
      c2vl prompts filter runs/stores/utd runs/stores/utd/language runs/filtered
      c2vl prompts filter runs/stores/utd runs/wrong runs/softened --doubtful soften
      c2vl prompts filter runs/stores/utd runs/random runs/averaged --average
    """
    from c2vl.prompts import noise
    from c2vl.prompts.table import KIND, ConceptTable
    from c2vl.skeletons.staging import made_at
    from c2vl.skeletons.store import Store
    from c2vl.support.errors import UserError

    if average and doubtful == "soften":
        raise UserError("--average, --doubtful soften: give one of the two")
    opened = ConceptTable.open(table)
    if average:
        with made_at(out, KIND, fresh=overwrite) as folder:
            noise.averaged(Store.open(store), opened, folder, split_name=split, overwrite=overwrite)
        click.echo(f"{out}: training prompts are the mean of {noise.NEIGHBOURS} neighbours'")
        return
    found = noise.fit(Store.open(store), opened, split_name=split)
    make = noise.soften if doubtful == "soften" else noise.keep_fitting
    with made_at(out, KIND, fresh=overwrite) as folder:
        make(opened, folder, found, overwrite=overwrite)
    _tell_fit(found)
    kept, pairs = len(found.ids) - len(found.doubted), len(found.ids)
    if doubtful == "soften":
        click.echo(f"{out}: all {pairs} training pairs, each softened as far as it looks wrong")
    else:
        click.echo(
            f"{out}: {kept} of {pairs} training pairs kept; multiply train.epochs by about "
            f"{pairs / kept:.2f} for equally many steps"
        )


def _tell_fit(found: Fit) -> None:
    known = "" if found.auc is None else f"; AUC for the known ones {found.auc:.3f}"
    click.echo(f"wrong pairs: about {found.share:.0%} of {len(found.ids)} training pairs{known}")
