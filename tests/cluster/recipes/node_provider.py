"""A provider of nodes for Ray's autoscaler: each node is a ``ray start`` of this machine.

Named by ``provider: {type: external, module: …}``. It runs in the autoscaler's process, on the
head; tests read what it notes in its folder, and kill nodes by it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

HEAD = "head"
# raylets that start together on one machine may draw the same port
START = 'exec 9>"$LOCK"; flock 9; sleep 8 & exec 9>&-; exec "$@"'


class Processes(NodeProvider):
    """Nodes as processes. ``provider`` names its ``folder`` and the ``gcs_address``."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._folder, self._lock = Path(provider_config["folder"]), threading.RLock()
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._tags = {HEAD: {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: HEAD}}

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        with self._lock:
            for node in [n for n, process in self._nodes.items() if process.poll() is not None]:
                self._forget(node, "lost")
            return [n for n, tags in self._tags.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self.non_terminated_nodes({})

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        return dict(self._tags[node_id])

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._tags[node_id] |= tags

    def external_ip(self, node_id: str) -> str:
        return node_id

    internal_ip = external_ip

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        if "refuse" in node_config:
            raise RuntimeError(node_config["refuse"])
        for _ in range(count):
            with self._lock:
                self._start(tags, resources)

    def terminate_node(self, node_id: str) -> None:
        with self._lock:
            if node_id in self._nodes:
                os.killpg(self._nodes[node_id].pid, signal.SIGTERM)
                self._forget(node_id, "ended")

    def _start(self, tags: dict[str, str], resources: dict[str, float]) -> None:
        node = f"node{time.time_ns()}"
        env = os.environ | {
            "RAY_CLOUD_INSTANCE_ID": node,
            "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE],
            "LOCK": str(self._folder / "start.lock"),
        }
        # fmt: off
        command = [
            "bash", "-c", START, "bash", str(Path(sys.executable).with_name("ray")), "start",
            "--block", f"--address={self.provider_config['gcs_address']}", "--disable-usage-stats",
            f"--num-cpus={resources['CPU']:g}", f"--node-name={node}",
            "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0",
            "--metrics-export-port=0", "--dashboard-agent-listen-port=0",
            "--dashboard-agent-grpc-port=0", "--runtime-env-agent-port=0",
        ]
        # fmt: on
        with (self._folder / f"{node}.log").open("w") as log:
            self._nodes[node] = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, start_new_session=True
            )
        self._tags[node] = tags | {TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}
        self._note(node, "started", self._nodes[node].pid)

    def _forget(self, node: str, event: str) -> None:
        self._note(node, event, self._nodes.pop(node).pid)
        del self._tags[node]

    def _note(self, node: str, event: str, pid: int) -> None:
        line = {"time": time.time(), "node": node, "event": event, "pid": pid}
        with (self._folder / "events.jsonl").open("a") as events:
            events.write(json.dumps(line) + "\n")
