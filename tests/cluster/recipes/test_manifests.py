"""The Kubernetes recipes as Kubernetes, KubeRay and Ray's autoscaler would read them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.cluster.recipes.manifests import (
    OVERLAYS,
    Manifest,
    Schemas,
    build,
    cluster_specs,
    node_types,
    references,
)


@pytest.fixture(scope="module")
def built() -> dict[str, list[Manifest]]:
    return {overlay: build(overlay) for overlay in OVERLAYS}


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return Schemas()


def pods(node: Any) -> list[Any]:
    if isinstance(node, list):
        return [pod for item in node for pod in pods(item)]
    if not isinstance(node, dict):
        return []
    here = [node] if "containers" in node else []
    return here + [pod for item in node.values() for pod in pods(item)]


def test_every_manifest_is_valid(built: dict[str, list[Manifest]], schemas: Schemas) -> None:
    for manifests in built.values():
        assert not list(references(manifests))
        for manifest in manifests:
            assert not list(schemas.problems(manifest))


def test_a_misspelt_field_is_found(built: dict[str, list[Manifest]], schemas: Schemas) -> None:
    cluster = next(m for m in built["overlays/cpu"] if m["kind"] == "RayCluster")
    pod = copy.deepcopy(cluster)
    pod["spec"]["headGroupSpec"]["template"]["spec"]["toleration"] = []
    assert "toleration" in "".join(schemas.problems(pod))
    ray = copy.deepcopy(cluster)
    ray["spec"]["enableInTreeAutoScaling"] = True
    assert "enableInTreeAutoScaling" in "".join(schemas.problems(ray))
    job = copy.deepcopy(next(m for m in built["sweep"] if m["kind"] == "RayJob"))
    job["spec"]["clusterSelector"] = {"ray.io/cluster": "c2vl"}
    assert list(schemas.problems(job))


def test_rays_autoscaler_reads_the_workers(built: dict[str, list[Manifest]]) -> None:
    for overlay, group in (("overlays/cpu", "cpu"), ("overlays/spot", "gpu"), ("sweep", "cpu")):
        (spec,) = cluster_specs(built[overlay])
        assert spec["authOptions"]["mode"] == "token"
        types = node_types(spec)
        assert types["headgroup"]["resources"]["CPU"] == 0  # the head takes no trial
        assert (types[group]["min_workers"], types[group]["max_workers"]) == (0, 16)
        assert types[group]["resources"]["CPU"] == 8
        assert types[group]["resources"].get("GPU", 0) == (group == "gpu")


def test_only_workers_go_to_spot_nodes(built: dict[str, list[Manifest]]) -> None:
    (spec,) = cluster_specs(built["overlays/spot"])
    assert "tolerations" not in spec["headGroupSpec"]["template"]["spec"]
    (workers,) = spec["workerGroupSpecs"]
    keys = {toleration["key"] for toleration in workers["template"]["spec"]["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot", "spot"} <= keys


def test_no_container_is_root_or_without_limits(built: dict[str, list[Manifest]]) -> None:
    found = [pod for manifests in built.values() for pod in pods(manifests)]
    assert len(found) == 3 * 3 + 3 + 4  # head, workers and Redis; MLflow's three; the job's
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"]
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert "password" not in str(container.get("args", "")).lower().replace(
                "$(redis_password)", ""
            )
