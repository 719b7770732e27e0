"""Being connected to Ray for as long as something takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def connected(**options: Any) -> Iterator[None]:
    """Be connected to Ray: to what RAY_ADDRESS names, or to a Ray that is started here.

    A connection that is there already is used and left as it is; one that is made here ends here,
    since Ray keeps processes and a process's one connection otherwise. Without an address Ray would
    join any cluster that it finds on the machine, somebody else's too.

    Args:
        **options: of ``ray.init``, where a connection has to be made.
    """
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(address=os.environ.get("RAY_ADDRESS") or "local", **options)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()
