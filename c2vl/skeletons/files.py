"""Single files, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from c2vl.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write under a temporary name, which becomes ``path`` if all goes well.

    Raises:
        UserError: it cannot be written there.
    """
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(prefix=f".tmp-{path.name}-", dir=path.parent)
        with open(number, "wb") as file:
            os.fchmod(number, 0o644)
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if partial and os.path.exists(partial):
            os.unlink(partial)
