"""Being connected to Ray for as long as something takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def connected(**options: Any) -> Iterator[None]:
    """Be connected to Ray: to what RAY_ADDRESS names, or to a Ray that is started here.

    A connection that is there already is used and left as it is; one that is made here ends here,
    since Ray keeps processes and a process's one connection otherwise.

    Args:
        **options: of ``ray.init``, where a connection has to be made.
    """
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(**options)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()
