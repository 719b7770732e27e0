"""``c2vl data``: prepare a dataset, generate the demo set, look at a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from c2vl.skeletons.prepare import Prepared
    from c2vl.skeletons.store import Store

_FOLDER = click.Path(path_type=Path)


@click.group(
    epilog="""
\b
Examples:
  c2vl data demo runs/stores/demo
  c2vl data prepare utd-mhad path/to/utd_mhad runs/stores/utd_mhad
  c2vl data prepare ntu60 path/to/nturgb+d_skeletons runs/stores/ntu60 --max-rejected 400
  c2vl data describe runs/stores/demo
"""
)
def data() -> None:
    """Prepare datasets, generate the demo set, describe a store."""


@data.command()
@click.argument("name")
@click.argument("source", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@click.option("--max-rejected", default=0, show_default=True, help="unusable files to put up with")
@click.option("--overwrite", is_flag=True, help="replace a different store at OUT")
def prepare(name: str, source: Path, out: Path, max_rejected: int, overwrite: bool) -> None:
    """Read dataset NAME from the folder SOURCE into a store at OUT.

    NAME is utd-mhad, ntu60, ntu120 or demo.
    """
    from c2vl.skeletons import prepare as preparing

    with _Progress() as progress:
        prepared = preparing.prepare(
            name, source, out, max_rejected=max_rejected, overwrite=overwrite, progress=progress
        )
    _say(prepared, out)


@data.command()
@click.argument("out", type=_FOLDER)
@click.option("--seed", default=0, show_default=True, help="decides the whole set")
@click.option("--subjects", default=8, show_default=True, help="performers")
@click.option("--cameras", default=2, show_default=True, help="directions of view")
@click.option("--replications", default=2, show_default=True, help="for each class and camera")
@click.option("--keep-raw", type=_FOLDER, help="keep the .skeleton files in this folder")
@click.option("--overwrite", is_flag=True, help="replace a different store at OUT")
def demo(
    out: Path,
    seed: int,
    subjects: int,
    cameras: int,
    replications: int,
    keep_raw: Path | None,
    overwrite: bool,
) -> None:
    """Generate the demo set (NTU layout, known classes) and prepare it at OUT."""
    from c2vl.skeletons.demo import DemoSettings
    from c2vl.skeletons.demo_store import prepare_demo

    settings = DemoSettings(
        seed=seed, subjects=subjects, cameras=cameras, replications=replications
    )
    with _Progress() as progress:
        prepared = prepare_demo(
            out, settings, keep_raw=keep_raw, overwrite=overwrite, progress=progress
        )
    _say(prepared, out)


@data.command()
@click.argument("store", type=_FOLDER)
@click.option("--verify", is_flag=True, help="read everything and compare the checksum")
def describe(store: Path, verify: bool) -> None:
    """Show what a prepared STORE holds."""
    from c2vl.skeletons.describe import show
    from c2vl.skeletons.store import Store

    opened = Store.open(store)
    if verify:
        opened.verify()
    show(opened)


def _say(prepared: Prepared, out: Path) -> None:
    store: Store = prepared.store
    counts = store.manifest["counts"]
    what = f"{counts['sequences']} sequences of {store.manifest['dataset']}"
    if prepared.already:
        click.echo(f"{out}: already prepared from the same source ({what}); nothing to do")
    else:
        click.echo(f"{out}: {what}, {counts['frames']} frames, checksum {store.digest[:12]}")
    if prepared.rejected:
        click.echo(f"{len(prepared.rejected)} files were rejected: see {out / 'rejected.csv'}")


class _Progress:
    """A progress bar on a terminal, silence elsewhere; called with files done and in all."""

    def __enter__(self) -> _Progress:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress

        console = Console(stderr=True)
        self._bar = Progress(
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("files", total=None)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
