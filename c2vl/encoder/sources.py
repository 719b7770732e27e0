"""Finds an encoder by its folder, or by an MLflow address that an installed plugin fetches.

This package does not import MLflow. One that does (here ``sweeps``) declares an entry point of the
group ``c2vl.encoders``: a callable ``fetch(source)`` that returns a context manager of a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from c2vl.support.errors import UserError

GROUP = "c2vl.encoders"
ADDRESS = re.compile(r"^(models:/|runs:/|mlflow-artifacts:/)")
RUN_ID = re.compile(r"^[0-9a-f]{32}$")


def is_address(source: str | Path) -> bool:
    """Tell whether a source is an MLflow address or the id of a run, and no folder."""
    text = str(source)
    if ADDRESS.match(text):
        return True
    return bool(RUN_ID.match(text)) and not Path(text).exists()


@contextmanager
def find(source: str | Path) -> Iterator[Path]:
    """Yield the folder of an encoder while the block runs.

    Raises:
        UserError: it is an address, and no installed plugin can fetch it.
    """
    if not is_address(source):
        yield Path(source)
        return
    with plugin(GROUP, "mlflow", f"{source}")(str(source)) as folder:
        yield folder


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
