"""Ray's notice that a node is about to be taken away: a spot instance, a pod, a host's service.

Ray Train's own way (``ray.train.get_preemption_info``) takes a process for each run, and all
workers have to ask together; only rank 0 saves here.
"""

from __future__ import annotations

import time

EVERY = 2.0  # seconds between two looks: a small request, against a notice of 30 s or more


class NodeNotice:
    """Says, at most every two seconds, that a node of the cluster is about to go.

    It may be any node, since rank 0 saves for the workers on others too.
    """

    def __init__(self) -> None:
        self._looked = float("-inf")

    def __call__(self) -> bool:
        """Return whether a checkpoint should be saved now."""
        if time.monotonic() < self._looked + EVERY:
            return False
        self._looked = time.monotonic()
        return bool(draining_nodes())


def draining_nodes() -> dict[str, int]:
    """Return the nodes that are announced to go, as Ray Train's watcher reads them.

    Returns:
        Node id → time in milliseconds since the epoch at which it goes, 0 if that is not known.
    """
    from ray._private.state import state  # a contract test says when a release has it no more

    return dict(getattr(state, "get_draining_nodes", dict)())
