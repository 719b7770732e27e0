"""What the sweeps of a campaign share: data, a local cluster, and undisturbed weights."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import yaml

from c2vl.config.reading import load, override
from c2vl.support.errors import UserError
from cluster import auth, local, processes
from cluster.state import STATE_FILE, ClusterState
from cluster.state import load as load_state
from tests.faults.campaign.results import Plan
from tests.faults.processes import undisturbed
from tests.shell import free_port
from tests.small import small_language, small_store, small_sweep

NAME, TRIALS, POINTS, EPOCHS = "small", 3, 2, 5  # of each sweep; its first trials are the points


class Ground:
    """Data, and the local cluster, that the sweeps of a campaign share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.store = small_store(folder / "store")
        shutil.rmtree(folder / "language", ignore_errors=True)
        self.language = small_language(folder / "language", self.store)
        self._weights: dict[str, str] = {}

    def sweep(self, plan: Plan, folder: Path) -> Path:
        """Write the sweep file of a plan."""
        values = small_sweep(self.store.path, self.language)
        train = {"epochs": EPOCHS, "workers": plan.workers, "cpus_per_worker": 1 / plan.workers}
        values["base"] = override(
            values["base"], {f"train.{key}": value for key, value in train.items()}
        )
        values |= {"trials": TRIALS, "points": values["points"][:POINTS], "concurrency": None}
        values["final"] = {"protocols": ["knn"]}
        path = folder / f"{NAME}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def cluster(self, nodes: int) -> ClusterState:
        """Start the cluster, or what is missing of it."""
        path = self.folder / STATE_FILE
        with chdir(self.folder):
            state = load_state(path)
            if state is not None and not processes.alive(state.nodes[0]):
                local.down(path, grace=1)
                state = None
            tries = 3  # another Ray of this machine may take the port that a node has just drawn
            while state is None:
                port = free_port()
                try:
                    state, _ = local.up(path, nodes=nodes, dashboard_port=port)
                except UserError:
                    tries -= 1
                    if not tries:
                        raise
            while len([node for node in state.nodes if processes.alive(node)]) < nodes:
                state = _grown(state, path)
        return state

    def state(self) -> ClusterState:
        """The cluster as it was last seen whole."""
        state = load_state(self.folder / STATE_FILE)
        assert state is not None
        return state

    def close(self) -> None:
        """End the cluster."""
        local.down(self.folder / STATE_FILE)

    def weights(self, run: Path, out: Path) -> str:
        """Digest of the weights that a run's experiment has when nothing disturbs it."""
        settings = load(run / "experiment.yaml").model_dump(mode="json", exclude={"name"})
        key = json.dumps(settings, sort_keys=True)
        if key not in self._weights:
            self._weights[key] = undisturbed(run, out)
        return self._weights[key]


def _grown(state: ClusterState, path: Path) -> ClusterState:
    """Add a node, as an autoscaler would; lost ones leave the state."""
    index = 1 + max([0, *(int(node.name.removeprefix("node")) for node in state.nodes[1:])])
    state = replace(state, nodes=tuple(node for node in state.nodes if processes.alive(node)))
    auth.enable()
    state = local._start_node(state, path, index, 1)
    local._wait(state, 120)
    return state
