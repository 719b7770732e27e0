"""Says which nodes trials wait for in vain: a kind that the cloud refuses, or that nobody has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from c2vl.support.files import write_text
from sweeps.planning.ray_internals import autoscaler
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Listener

if TYPE_CHECKING:
    from ray.autoscaler.v2.schema import ClusterStatus

LOOK_SECONDS = 10.0
ALONE_SECONDS = 60.0  # without any node that starts, before that is said
# Ray passes on the reason of KubeRay, but of no other provider of nodes
NO_REASON = "refused; the autoscaler's monitor.log, on the head, has the reason"


class NodesWanted(Listener):
    """Asks the autoscaler, and tells the log and, by the sweep's folder, `status` and `watch`.

    Args:
        spec: the sweep; one without ``autoscaling`` waits for no nodes.
        say: prints a line.
    """

    def __init__(self, spec: SweepSettings, say: Callable[[str], None]) -> None:
        self._spec, self._say, self._said = spec, say, ""
        self._looked, self._alone = time.monotonic(), time.monotonic()
        spec.folder.nodes_wanted.unlink(missing_ok=True)

    def turned(self) -> None:
        """Look again, now and then."""
        if not self._spec.autoscaling or time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            now = autoscaler()
        except (RayError, RuntimeError, OSError):  # the next look tells
            return
        if now.pending_nodes or now.pending_launches or now.active_nodes:
            self._alone = self._looked
        text = wanted(now, alone=self._looked > self._alone + ALONE_SECONDS)
        if text == self._said:
            return
        self._said = text
        file = self._spec.folder.nodes_wanted
        if text:
            self._say(text)
            write_text(file, text)
        else:
            file.unlink(missing_ok=True)
        self._spec.folder.send(file)


def wanted(now: ClusterStatus, *, alone: bool) -> str:
    """Return which nodes trials wait for in vain, and why; empty if for none.

    Args:
        now: what the autoscaler knows.
        alone: for some time no node has worked or started.
    """
    waiting = [
        " + ".join(f"{amount:g} {kind}" for kind, amount in sorted(one.bundle.items()))
        for group in now.resource_demands.placement_group_demand
        for one in group.bundles_by_count
        if any(one.bundle.values())
    ]
    if not waiting:
        return ""
    refused = {one.ray_node_type_name: one.details or NO_REASON for one in now.failed_launches}
    why = [f"no node of type {name}: {details}" for name, details in sorted(refused.items())]
    if alone and not why:
        why = ["no type of node of the cluster has so much, or may be started"]
    if not why:
        return ""
    return f"trials wait for nodes with {', '.join(sorted(set(waiting)))}; {'; '.join(why)}"
