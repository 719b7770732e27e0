"""Finds an encoder by its folder, its run's or its URL, or by an MLflow address by a plugin.

This package does not import MLflow. One that does (here ``sweeps``) declares an entry point of the
group ``c2vl.encoders``: a callable ``fetch(source)`` that returns a context manager of a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from c2vl.support.errors import UserError
from c2vl.support.files import require_free
from c2vl.support.remote import Location, RemoteFolder, is_url, parse_location

GROUP = "c2vl.encoders"
ADDRESS = re.compile(r"^(models:/|runs:/|mlflow-artifacts:/)")
CARDS = ("encoder.json", "config.json")
"""Names of the card: ours, and that of the Hugging Face Hub's layout."""
RUN_ID = re.compile(r"^[0-9a-f]{32}$")


def is_address(source: str | Path) -> bool:
    """Tell whether a source is a URL, an MLflow address or the id of a run, and no folder."""
    text = str(source)
    if ADDRESS.match(text) or is_url(text):
        return True
    return bool(RUN_ID.match(text)) and not Path(text).exists()


def folder_of(source: Path) -> Path:
    """Return the folder of an encoder: of a run's folder the one in it.

    Raises:
        UserError: it is a run's folder, and the run has no encoder yet.
    """
    if any((source / card).exists() for card in CARDS):
        return source
    if (source / "encoder" / CARDS[0]).exists():
        return source / "encoder"
    if (source / "experiment.yaml").exists():
        raise UserError(f"{source}: this run has no encoder yet; the same `c2vl train` ends it")
    return source


@contextmanager
def find(source: str | Path) -> Iterator[Path]:
    """Yield the folder of an encoder while the block runs.

    Raises:
        UserError: it is an address, and no installed plugin can fetch it; or a URL with no encoder.
    """
    text = str(source)
    if not is_address(source):
        yield folder_of(Path(source))
    elif is_url(text) and not ADDRESS.match(text):
        with TemporaryDirectory(prefix="c2vl-encoder-") as folder:
            _fetch(str(parse_location(text)), Path(folder))
            try:
                yield folder_of(Path(folder))
            except UserError as error:
                raise type(error)(str(error).replace(folder, text)) from None
    else:
        with plugin(GROUP, "mlflow", text)(text) as found:
            yield found


@contextmanager
def made_at(out: Location, *, overwrite: bool) -> Iterator[Path]:
    """Yield the folder in which to write an encoder for ``out``: itself, or one to send to a URL.

    The card goes last, so that nobody finds half an encoder at a URL.

    Raises:
        UserError: something is there that may not be replaced, or it cannot be written.
    """
    if isinstance(out, Path):
        require_free(out, overwrite=overwrite, known_by=CARDS)
        yield out
        return
    from c2vl.skeletons.staging import MARK, send

    remote = RemoteFolder(out)
    remote.require_writable()
    there = [name for name in remote.files() if "/" not in name]
    if there and MARK not in there:
        if not overwrite:
            raise UserError(f"{out}: is there already; add --overwrite to replace it")
        if not any(name in there for name in CARDS):
            raise UserError(f"{out}: holds something else (no {' or '.join(CARDS)}); give another")
    with TemporaryDirectory(prefix="c2vl-encoder-") as above:
        folder = Path(above) / "encoder"
        folder.mkdir()
        if there:  # its count of test scorings stays
            _fetch(out, folder)
        yield folder
        written = [path.name for path in folder.iterdir()]
        (card,) = [name for name in CARDS if name in written]
        send(folder, remote, (*written, *there), last=card)


def _fetch(url: str, folder: Path) -> None:
    """Copy the files at a URL, without those in folders below it; of a run those of its encoder.

    Raises:
        UserError: there are none.
    """
    remote = RemoteFolder(url)
    listed = remote.files()
    is_run = f"encoder/{CARDS[0]}" in listed and not any(card in listed for card in CARDS)
    start = "encoder/" if is_run else ""
    files = {
        name: size
        for name, size in listed.items()
        if name.startswith(start) and "/" not in name.removeprefix(start)
    }
    if not files:
        raise UserError(f"{url}: nothing lies here; `c2vl export RUN '{url}'` puts an encoder here")
    for name, size in files.items():
        remote.fetch(name, size, folder / name.removeprefix(start), lambda _: None)


def plugin(group: str, name: str, wanted_by: str) -> Any:
    """Load an entry point.

    Args:
        wanted_by: what needs it, for the message.

    Raises:
        UserError: it is not installed.
    """
    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise UserError(
        f"{wanted_by}: needs {name}, which is not installed beside this package; install the whole "
        "project, or give a folder"
    )
