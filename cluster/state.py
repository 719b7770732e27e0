"""State file of the local cluster: addresses, the shared folder, one process for each node."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.files import write_text

STATE_FILE = Path("runs/cluster/state.json")


@dataclass(frozen=True)
class NodeProcess:
    """One Ray node: the ``ray start --block`` process that owns all the others of the node.

    Attributes:
        created: its start time in seconds since the epoch; with the pid it names one process, so
            that a pid reused by another process is never signalled.
    """

    name: str
    pid: int
    created: float


@dataclass(frozen=True)
class ClusterState:
    """A local cluster.

    Attributes:
        dashboard: address for job submission, ``http://127.0.0.1:8265``.
        gcs: ``host:port`` that nodes join at.
        root: absolute folder that jobs run in; relative paths of a sweep lie below it.
        temp_dir: Ray's sockets and logs, and the mark that the cluster's processes carry.
        nodes: the head first.
    """

    dashboard: str
    gcs: str
    root: str
    temp_dir: str
    nodes: tuple[NodeProcess, ...] = ()

    def with_node(self, node: NodeProcess) -> ClusterState:
        """Return the state with one more node."""
        return replace(self, nodes=(*self.nodes, node))


def save(state: ClusterState, path: Path) -> None:
    """Write ``state`` atomically."""
    write_text(path, json.dumps(asdict(state), indent=2) + "\n")


def load(path: Path) -> ClusterState | None:
    """Return the state in ``path``, or None where no cluster was started.

    Raises:
        UserError: the file is not one that :func:`save` wrote.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(NodeProcess(**node) for node in values.pop("nodes"))
        return ClusterState(**values, nodes=nodes)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: not a cluster's state ({error}); end its `ray start` processes by hand, "
            "then remove the file"
        ) from None
